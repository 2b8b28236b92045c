// Package corpus is the detection corpus: npm projects whose dependencies act
// out an attack, or look like one and are not, each with the result that a
// scan of it has to have.
//
// A case is a folder:
//
//	stolen-key/
//	  package.json, package-lock.json   the project; the lockfile has no addresses
//	  packages/NAME/                     the sources of the packages it installs
//	  expect.json                        the result, see Expect
//
// The packages are harmless: they reach for loopback only (and, in one case,
// for the metadata service's link-local address), carry no payload and put
// back what they change. Their lockfiles pin what registrytest makes of the
// sources; after changing one, run `go test ./test/corpus -update`.
package corpus

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// FS holds every case.
//
//go:embed */package.json */package-lock.json */expect.json */packages acts/*.txtar
var FS embed.FS

// Finding is one finding that a scan has to have.
type Finding struct {
	Behaviour string   `json:"behaviour"`    // one of finding.Finding's Behaviours
	Or        []string `json:"or,omitempty"` // others that are as right
	Package   string   `json:"package"`      // package URL
	Script    string   `json:"script"`       // lifecycle script
	// Said is part of what one of its occurrences said to another machine.
	Said string `json:"said,omitempty"`
}

// Expect is a case's expect.json.
type Expect struct {
	About    string            `json:"about"`
	Verdict  finding.Verdict   `json:"verdict"`
	Accept   []finding.Verdict `json:"accept,omitempty"` // other verdicts that are right, depending on limits
	Findings []Finding         `json:"findings"`         // at least these
	Timeout  string            `json:"timeout,omitempty"`
	Needs    []string          `json:"needs,omitempty"`  // programs on the machine: "node-gyp" (with headers and a compiler), "python3"
	Native   *bool             `json:"native,omitempty"` // false: outside of the sandbox it would hang, crowd the machine or reach beyond loopback
	Kernel   bool              `json:"kernel,omitempty"` // shows only where the sandbox's kernel is ours: it puts clocks forward, answers for other machines, looks at all that is written, loads packages
	Real     bool              `json:"real,omitempty"`   // installs packages of the configured registry
}

// Case is one project of the corpus.
type Case struct {
	Name   string
	Expect Expect
	dir    fs.FS
}

// Load reads the cases below fsys, sorted by name.
func Load(fsys fs.FS) ([]Case, error) {
	files, err := fs.Glob(fsys, "*/expect.json")
	if err != nil {
		return nil, err
	}
	var out []Case
	for _, file := range files {
		c := Case{Name: path.Dir(file)}
		b, err := fs.ReadFile(fsys, file)
		if err == nil {
			err = json.Unmarshal(b, &c.Expect)
		}
		if err == nil {
			c.dir, err = fs.Sub(fsys, c.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("corpus: %s: %w", file, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// Timeout is how long a scan of the case may take; zero is the default.
func (c Case) Timeout() time.Duration {
	d, err := time.ParseDuration(c.Expect.Timeout)
	if err != nil {
		return 0 // none is given
	}
	return d
}

// Native reports whether the case may be installed outside of a sandbox.
func (c Case) Native() bool { return c.Expect.Native == nil || *c.Expect.Native }

// Project returns the files to scan, by name.
func (c Case) Project() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := fs.ReadFile(c.dir, name)
		if err != nil {
			return nil, fmt.Errorf("corpus: %s: %w", c.Name, err)
		}
		out[name] = b
	}
	return out, nil
}

// Publish adds the case's packages to reg. Their names are the corpus's own,
// so that one registry can serve all cases.
func (c Case) Publish(reg *registrytest.Registry) ([]registrytest.Package, error) {
	packages, err := fs.Sub(c.dir, "packages")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(packages, "."); err != nil {
		return nil, nil // a case of real packages only
	}
	published, err := reg.AddFS(packages)
	if err != nil {
		return nil, fmt.Errorf("corpus: %s: %w", c.Name, err)
	}
	return published, nil
}

// Registry returns a registry that serves the packages of all the given cases.
// Other packages come from upstream, unless that is nil.
func Registry(cases []Case, upstream *registry.Mirror) (*registrytest.Registry, error) {
	reg := registrytest.New()
	for _, c := range cases {
		if _, err := c.Publish(reg); err != nil {
			return nil, err
		}
	}
	if upstream != nil {
		reg.Fallback(through(upstream))
	}
	return reg, nil
}

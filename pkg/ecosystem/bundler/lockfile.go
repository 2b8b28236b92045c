package bundler

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

var (
	section  = regexp.MustCompile(`^[A-Z][A-Z ]*$`)
	spec     = regexp.MustCompile(`^    ([A-Za-z0-9_][A-Za-z0-9_.-]*) \(([0-9][0-9A-Za-z.]*)(?:-([A-Za-z0-9_.-]+))?\)$`)
	checksum = regexp.MustCompile(`^  ([A-Za-z0-9_][A-Za-z0-9_.-]*) \(([0-9][0-9A-Za-z.]*)(?:-([A-Za-z0-9_.-]+))?\)(?: (?:(?:sha256=)([0-9a-f]{64})|[a-z0-9]+=[0-9a-f]+)(?:,[a-z0-9]+=[0-9a-f]+)*)?$`)
)

// lockfile is a Gemfile.lock under reading.
type lockfile struct {
	section   string
	remote    string // of the section
	specs     bool   // within a section's specs
	packages  []ecosystem.Package
	platforms []string // of packages, in step with them
	sums      map[string]string
	summed    bool // there is a section of checksums
	problems  []string
}

func (l *lockfile) problem(format string, args ...any) {
	if len(l.problems) < MaxProblems {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// parse reads a lockfile. It knows every line that Bundler writes where gems
// are listed; any other is an error, so that a lockfile that Bundler reads in
// another way is not taken for this one.
func parse(b []byte) (*lockfile, error) {
	if !utf8.Valid(b) {
		return nil, fault.Errorf(fault.Invalid, "not UTF-8")
	}
	l := &lockfile{sums: map[string]string{}}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if err := l.line(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, fault.Errorf(fault.KindOf(err), "line %d: %w", n, err)
		}
	}
	l.settle()
	return l, nil
}

func (l *lockfile) line(line string) error {
	switch {
	case line == "":
		return nil
	case section.MatchString(line):
		l.section, l.remote, l.specs = line, "", false
		l.summed = l.summed || line == "CHECKSUMS"
		return nil
	case !strings.HasPrefix(line, "  ") || l.section == "":
		return fault.Errorf(fault.Invalid, "%.60q is no line of a lockfile", line)
	}
	switch l.section {
	case "GEM", "GIT", "PATH":
		return l.source(line)
	case "CHECKSUMS":
		m := checksum.FindStringSubmatch(line)
		if m == nil || m[4] == "" && strings.Contains(line, "sha256=") {
			return fault.Errorf(fault.Invalid, "%.60q is no checksum", line)
		}
		if m[4] != "" {
			l.sums[m[1]+" "+m[2]+" "+m[3]] = m[4]
		}
	}
	return nil // platforms, dependencies, versions
}

// source reads a line of a section that lists gems.
func (l *lockfile) source(line string) error {
	if strings.HasPrefix(line, "      ") {
		return nil // what a gem depends on
	}
	if m := spec.FindStringSubmatch(line); m != nil && l.specs {
		return l.gem(m[1], m[2], m[3])
	}
	key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
	if !ok || strings.HasPrefix(line, "   ") || key == "" || strings.ContainsAny(key, " (") {
		return fault.Errorf(fault.Invalid, "%.60q is no gem", line)
	}
	switch key {
	case "specs":
		l.specs = true
	case "remote":
		l.remote = strings.TrimSpace(value)
	}
	return nil
}

func (l *lockfile) gem(name, version, platform string) error {
	if len(name) > maxName || len(version)+len(platform) > maxName {
		return fault.Errorf(fault.Invalid, "%.60q is too long for a gem's name and version", name)
	}
	if l.section == "PATH" {
		return nil // in the source: the project's own
	}
	if len(l.packages) >= MaxPackages {
		return fault.Errorf(fault.TooLarge, "more than %d gems", MaxPackages)
	}
	p := ecosystem.Package{Package: finding.Package{Name: name, Version: version}, Resolved: l.remote}
	var q packageurl.Qualifiers
	if platform != "" {
		q = append(q, packageurl.Qualifier{Key: "platform", Value: platform})
	}
	if l.section == "GIT" {
		p.Foreign = true
		q = append(q, packageurl.Qualifier{Key: "vcs_url", Value: l.remote})
		l.problem("%s %s comes from git (%.100q), not from a registry", name, version, l.remote)
	}
	p.PURL = packageurl.NewPackageURL(packageurl.TypeGem, "", name, version, q, "").ToString()
	l.packages, l.platforms = append(l.packages, p), append(l.platforms, platform)
	return nil
}

// settle joins gems with their checksums and sorts them.
func (l *lockfile) settle() {
	for i := range l.packages {
		p := &l.packages[i]
		sum, ok := l.sums[p.Name+" "+p.Version+" "+l.platforms[i]]
		if raw, err := hex.DecodeString(sum); ok && err == nil {
			p.Integrity = "sha256-" + base64.StdEncoding.EncodeToString(raw)
		}
		if l.summed && !ok && !p.Foreign {
			l.problem("%s %s has no checksum, others have", p.Name, p.Version)
		}
	}
	slices.SortStableFunc(l.packages, func(a, b ecosystem.Package) int { return strings.Compare(a.PURL, b.PURL) })
}

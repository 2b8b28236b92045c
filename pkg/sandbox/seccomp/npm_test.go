package seccomp_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/test/corpus"
)

// detection is an alert in the corpus's words.
type detection struct{ behaviour, purl, script string }

// shipped are the project's own rules.
func shipped(t testing.TB) *rules.Set {
	t.Helper()
	const name = "../../../config/falco/falconer_rules.yaml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(rules.SensorFields(), rules.File{Name: name, Data: text})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// scanCase installs a case of the corpus with the real npm and the shipped
// rules.
func scanCase(t *testing.T, c corpus.Case) (sandbox.Report, map[detection]finding.Priority, []falco.Alert) {
	t.Helper()
	d, err := seccomp.New(seccomp.Config{Rules: shipped(t), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	files, err := c.Project()
	if err != nil {
		t.Fatal(err)
	}
	source, fsys := t.TempDir(), fstest.MapFS{}
	for name, b := range files {
		fsys[name] = &fstest.MapFile{Data: b}
		if err := os.WriteFile(filepath.Join(source, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := npm.Manager{}.Load(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := corpus.Registry([]corpus.Case{c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var log alertLog
	r, err := d.Run(t.Context(), sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: source, Project: p, Manager: npm.Manager{}, Registry: reg,
		Limits: sandbox.Limits{Wall: c.Timeout()}}, &log)
	if err != nil {
		t.Fatal(err)
	}
	got := map[detection]finding.Priority{}
	for _, a := range log.alerts {
		for _, tag := range a.Tags {
			if b, ok := strings.CutPrefix(tag, "behaviour:"); ok {
				got[detection{b, fmt.Sprint(a.Field(falco.FieldPackage)), fmt.Sprint(a.Field(falco.FieldScript))}] = a.Priority
			}
		}
	}
	return r, got, log.alerts
}

// TestCorpus installs harmless packages that act out attacks, and benign ones,
// with the real npm, and expects what the gVisor driver finds.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Load(corpus.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Expect.Real || len(c.Expect.Needs) > 0 || c.Expect.Kernel || c.Name == "hang" {
			continue // the test's registry has no such packages; a compiler; beyond this driver (docs/sandbox.md); covered by TestLimits in less time
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r, got, alerts := scanCase(t, c)
			if doubtful := c.Expect.Verdict == finding.Inconclusive; doubtful != (len(r.Incomplete) > 0) || !doubtful && r.Sandbox.Reason != "completed" {
				t.Errorf("ended with %+v: %q\n%s", r.Sandbox, r.Incomplete, r.Log)
			}
			for _, f := range c.Expect.Findings {
				if _, ok := got[detection{f.Behaviour, f.Package, f.Script}]; !ok {
					t.Errorf("%+v is missing in %v\n%s", f, got, outputs(alerts))
				}
			}
			for d, priority := range got {
				if len(c.Expect.Findings) == 0 && priority <= finding.Warning {
					t.Errorf("%+v (%s) in a benign case:\n%s", d, priority, outputs(alerts))
				}
			}
		})
	}
}

// TestOtherPort installs while the registry's usual port is taken.
func TestOtherPort(t *testing.T) {
	if l, err := net.Listen("tcp4", "127.0.0.1:4873"); err == nil {
		defer l.Close()
	}
	cases, err := corpus.Load(corpus.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name != "stolen-key" {
			continue
		}
		if r, got, _ := scanCase(t, c); r.Sandbox.Reason != "completed" || len(got) == 0 {
			t.Errorf("ended with %+v, found %v:\n%s", r.Sandbox, got, r.Log)
		}
	}
}

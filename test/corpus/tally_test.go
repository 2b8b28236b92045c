package corpus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/test/corpus"
)

func TestTally(t *testing.T) {
	acts, err := corpus.Acts()
	if err != nil {
		t.Fatal(err)
	}
	a := acts[0]
	cases, err := a.Cases(everything)
	if err != nil {
		t.Fatal(err)
	}
	perfect := finding.Result{Rules: "v1"}
	for _, w := range cases[0].Expect.Findings {
		name := strings.TrimSuffix(strings.TrimPrefix(w.Package, "pkg:npm/"), "@1.0.0")
		perfect.Findings = append(perfect.Findings, finding.Finding{Priority: finding.Warning, Behaviours: []string{w.Behaviour}, Script: w.Script,
			Package: finding.Package{PURL: w.Package, Name: name}, Evidence: []finding.Evidence{{ProcessChain: []string{"npm ci", "sh -c node act.js " + name}}}})
	}
	good := func() *corpus.Tally {
		var y corpus.Tally
		y.Acted(a, cases[0], perfect, time.Second)
		y.Benign(finding.Result{Rules: "v1", InstallScripts: []finding.ScriptPackage{{Package: finding.Package{Name: "core-js", Version: "3.0.0"}}}, Findings: []finding.Finding{{Priority: finding.Notice}}}, time.Second)
		return &y
	}
	if y := good(); !y.Perfect() {
		t.Error("not perfect")
	}
	for name, spoil := range map[string]func(*corpus.Tally){
		"a miss":           func(y *corpus.Tally) { y.Acted(a, cases[0], finding.Result{Findings: perfect.Findings[1:]}, 0) },
		"a false positive": func(y *corpus.Tally) { y.Benign(finding.Result{Findings: perfect.Findings[:1]}, 0) },
		"no result":        func(y *corpus.Tally) { y.Failed("x", errors.New("broken")) },
		"a wrong name": func(y *corpus.Tally) {
			r := finding.Result{Findings: append([]finding.Finding(nil), perfect.Findings...)}
			for i := range r.Findings {
				r.Findings[i].Evidence = []finding.Evidence{{ProcessChain: []string{"sh -c node falconer-acts-other"}}}
			}
			y.Acted(a, cases[0], r, 0)
		},
	} {
		y := good()
		if spoil(y); y.Perfect() {
			t.Errorf("%s: still perfect", name)
		}
	}
	var b strings.Builder
	if err := good().Write(&b, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02", "`v1`", "(100.0 %)", "core-js@3.0.0", "2 scans", "; 0 findings above Notice"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

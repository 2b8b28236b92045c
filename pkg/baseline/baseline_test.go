package baseline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/baseline"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// at is a finding of a package at a version.
func at(version, rule, detail string, p finding.Priority) finding.Finding {
	purl := "pkg:npm/left-pat@" + version
	return finding.Finding{ID: finding.Fingerprint(rule, purl, "install", "postinstall", detail), Rule: rule, Priority: p, Detail: detail,
		Package: finding.Package{PURL: purl, Name: "left-pat", Version: version}, Phase: "install", Script: "postinstall", Count: 1}
}

func with(f finding.Finding, change func(*finding.Finding)) finding.Finding {
	change(&f)
	return f
}

func good(list ...finding.Finding) *finding.Result {
	return &finding.Result{ScanID: scan.Key{Commit: "base"}.ID(), Ref: "main", Verdict: finding.Suspicious, Findings: list}
}

func TestCompare(t *testing.T) {
	warn := at("1.0.0", "Shell", "file:/bin/sh", finding.Warning)
	nobodys := with(warn, func(f *finding.Finding) { f.Package, f.Script = finding.Package{}, "" })
	own := with(warn, func(f *finding.Finding) { f.Package = finding.Package{} })
	type states []string // state, or state and what was before
	for _, tt := range []struct {
		name  string
		base  *finding.Result
		now   []finding.Finding
		want  states
		gone  int
		empty bool // no baseline
	}{
		{"nothing to compare with", nil, []finding.Finding{warn}, states{" "}, 0, true},
		{"a malicious scan is no baseline", &finding.Result{Verdict: finding.Malicious, Findings: []finding.Finding{warn}}, []finding.Finding{warn}, states{" "}, 0, true},
		{"an incomplete scan is no baseline", &finding.Result{Verdict: finding.Inconclusive, Incomplete: []string{"gap"}}, []finding.Finding{warn}, states{" "}, 0, true},
		{"the same", good(warn), []finding.Finding{warn}, states{"known "}, 0, false},
		{"another detail", good(warn), []finding.Finding{at("1.0.0", "Shell", "file:/bin/dash", finding.Warning)}, states{"new "}, 1, false},
		{"another version", good(warn), []finding.Finding{at("1.0.1", "Shell", "file:/bin/sh", finding.Warning)}, states{"new pkg:npm/left-pat@1.0.0"}, 0, false},
		{"another version beside the old one", good(warn), []finding.Finding{warn, at("1.0.1", "Shell", "file:/bin/sh", finding.Warning)}, states{"known ", "new "}, 0, false},
		{"gone", good(warn), nil, states{}, 1, false},
		{"got worse", good(warn), []finding.Finding{with(warn, func(f *finding.Finding) { f.Priority = finding.Error })}, states{"new "}, 0, false},
		{"got milder", good(warn), []finding.Finding{with(warn, func(f *finding.Finding) { f.Priority = finding.Notice })}, states{"known "}, 0, false},
		{"was suppressed", good(with(warn, func(f *finding.Finding) { f.Suppressed.Owner = "team" })), []finding.Finding{warn}, states{"new "}, 0, false},
		{"claimed", good(warn), []finding.Finding{with(warn, func(f *finding.Finding) { f.Claimed = true })}, states{"new "}, 0, false},
		{"nobody's", good(nobodys), []finding.Finding{nobodys}, states{"new "}, 0, false},
		{"the project's own script", good(own), []finding.Finding{own}, states{"known "}, 0, false},
	} {
		r := finding.Result{Findings: tt.now}
		r.Counts.Findings = int64(len(tt.now))
		baseline.Compare(&r, tt.base)
		got := states{}
		for _, f := range r.Findings {
			got = append(got, string(f.Baseline)+" "+f.Previous)
		}
		if d := cmp.Diff(tt.want, got); d != "" || len(r.Gone) != tt.gone || (r.Baseline == finding.Baseline{}) != tt.empty {
			t.Errorf("%s: baseline %+v, gone %+v, states (-want +got):\n%s", tt.name, r.Baseline, r.Gone, d)
		}
		again := r
		baseline.Compare(&again, tt.base)
		if d := cmp.Diff(r, again); d != "" {
			t.Errorf("%s: a second time:\n%s", tt.name, d)
		}
	}
}

func TestGoneNeedsAWholeScan(t *testing.T) {
	base := good(at("1.0.0", "Shell", "", finding.Warning))
	for name, r := range map[string]finding.Result{
		"incomplete": {Incomplete: []string{"gap"}},
		"cut":        {Counts: finding.Counts{Findings: 1}},
	} {
		if baseline.Compare(&r, base); len(r.Gone) != 0 {
			t.Errorf("%s: gone %+v", name, r.Gone)
		}
	}
	r := finding.Result{}
	baseline.Compare(&r, base)
	if len(r.Gone) != 1 || r.Gone[0].Package.PURL != "pkg:npm/left-pat@1.0.0" {
		t.Errorf("gone %+v", r.Gone)
	}
	baseline.Compare(&r, nil)
	if len(r.Gone) != 0 || r.Baseline.ScanID != "" {
		t.Errorf("marks stay: %+v", r)
	}
}

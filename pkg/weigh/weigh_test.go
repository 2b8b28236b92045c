package weigh_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/weigh"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func found(version string, p finding.Priority) finding.Finding {
	purl := "pkg:npm/left-pat@" + version
	return finding.Finding{ID: finding.Fingerprint(purl), Rule: "Shell", Priority: p, Package: finding.Package{PURL: purl, Name: "left-pat", Version: version}, Script: "postinstall"}
}

func word(version, expires string) scan.Suppression {
	return scan.Suppression{Source: ".falconer.yaml", Line: 3, Package: "pkg:npm/left-pat", Version: version, Rule: "Shell", Owner: "team", Reason: "looked", Expires: expires}
}

func result(incomplete []string, list ...finding.Finding) finding.Result {
	r := finding.Result{Findings: list, Incomplete: incomplete}
	r.Counts.Findings = int64(len(list))
	r.Verdict, r.Reasons = finding.Judge(list, incomplete)
	return r
}

func TestResult(t *testing.T) {
	base := result(nil, found("1.0.0", finding.Warning))
	base.ScanID = scan.Key{Commit: "base"}.ID()
	for _, tt := range []struct {
		name    string
		r       finding.Result
		policy  scan.Policy
		base    *finding.Result
		verdict finding.Verdict
		notes   []string
	}{
		{"nothing to weigh by", result(nil, found("1.0.0", finding.Warning)), scan.Policy{}, nil, finding.Suspicious, nil},
		{"known", result(nil, found("1.0.0", finding.Warning)), scan.Policy{Target: "main"}, &base, finding.Clean, nil},
		{"a new version", result(nil, found("1.0.1", finding.Warning)), scan.Policy{Target: "main"}, &base, finding.Suspicious, nil},
		{"no good scan", result(nil, found("1.0.0", finding.Warning)), scan.Policy{Target: "main"}, nil, finding.Suspicious,
			[]string{"there is no good scan of main to compare with: every finding is new"}},
		{"incomplete", result([]string{"gap"}), scan.Policy{Target: "main"}, &base, finding.Inconclusive, []string{"what is gone can't be told: not everything was checked"}},
		{"suppressed", result(nil, found("1.0.0", finding.Critical)), scan.Policy{Suppressions: []scan.Suppression{word("1.0.0", "2026-12-31")}}, nil, finding.Clean, nil},
		{"expired", result(nil, found("1.0.0", finding.Critical)), scan.Policy{Suppressions: []scan.Suppression{word("1.0.0", "2026-05-31")}}, nil, finding.Malicious,
			[]string{".falconer.yaml:3: pkg:npm/left-pat: expired after 2026-05-31; it would match 1"}},
		{"unused", result(nil), scan.Policy{Suppressions: []scan.Suppression{word("1.0.0", "2026-12-31")}, Problems: []string{"a problem"}}, nil, finding.Clean,
			[]string{"a problem", ".falconer.yaml:3: pkg:npm/left-pat: matches nothing"}},
		{"broad", result(nil, found("1.0.0", finding.Critical)), scan.Policy{Suppressions: []scan.Suppression{word(">=1", "2026-12-31")}}, nil, finding.Clean,
			[]string{".falconer.yaml:3: pkg:npm/left-pat: broader than what it was made for: its versions have no upper end: it covers code that nobody has seen yet"}},
	} {
		weigh.Result(&tt.r, tt.policy, tt.base, now)
		if d := cmp.Diff(tt.notes, tt.r.Notes); tt.r.Verdict != tt.verdict || d != "" {
			t.Errorf("%s: %s, want %s; notes (-want +got):\n%s", tt.name, tt.r.Verdict, tt.verdict, d)
		}
		again := tt.r
		weigh.Result(&again, tt.policy, tt.base, now)
		if d := cmp.Diff(tt.r, again); d != "" {
			t.Errorf("%s: weighed again:\n%s", tt.name, d)
		}
	}
}

func TestNotesAreBounded(t *testing.T) {
	var p scan.Policy
	for range 300 {
		p.Suppressions = append(p.Suppressions, word("1.0.0", "2026-12-31"))
	}
	r := result(nil)
	weigh.Result(&r, p, nil, now)
	if n := len(r.Notes); n != 21 || r.Notes[20] != "280 more suppressions did not hold as they stand" || len(r.Suppressions) != 300 {
		t.Errorf("%d notes, the last %q", n, r.Notes[n-1])
	}
}

package finding_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
)

func TestJudgeWeighs(t *testing.T) {
	with := func(p finding.Priority, state finding.State, owner string) finding.Finding {
		f := of(p)[0]
		f.Baseline, f.Suppressed.Owner = state, owner
		return f
	}
	const quiet = "no finding of priority Warning or above that weighs, and nothing was left unchecked"
	for _, tt := range []struct {
		name       string
		finding    finding.Finding
		incomplete []string
		want       finding.Verdict
		reasons    []string
	}{
		{"new", with(finding.Warning, finding.New, ""), nil, finding.Suspicious, []string{"pkg:npm/a@1 (postinstall): rule0"}},
		{"known", with(finding.Error, finding.Known, ""), nil, finding.Clean, []string{quiet, "known from the baseline, and not weighed: 1"}},
		{"known malice stays", with(finding.Critical, finding.Known, ""), nil, finding.Malicious,
			[]string{"pkg:npm/a@1 (postinstall): rule0 (known, and neither fixed nor suppressed)"}},
		{"suppressed malice", with(finding.Critical, finding.New, "team"), nil, finding.Clean, []string{quiet, "suppressed, and not weighed: 1"}},
		{"suppressed, and not everything watched", with(finding.Critical, finding.New, "team"), []string{"gap"}, finding.Inconclusive,
			[]string{"gap", "suppressed, and not weighed: 1"}},
		{"a known notice is no matter", with(finding.Notice, finding.Known, ""), nil, finding.Clean,
			[]string{"no rule of priority Warning or above matched, and nothing was left unchecked"}},
	} {
		got, reasons := finding.Judge([]finding.Finding{tt.finding}, tt.incomplete)
		if d := cmp.Diff(tt.reasons, reasons); got != tt.want || d != "" {
			t.Errorf("%s: %s, want %s; reasons (-want +got):\n%s", tt.name, got, tt.want, d)
		}
	}
}

func TestGood(t *testing.T) {
	for _, tt := range []struct {
		r    finding.Result
		want bool
	}{
		{finding.Result{Verdict: finding.Clean}, true},
		{finding.Result{Verdict: finding.Suspicious}, true},
		{finding.Result{Verdict: finding.Malicious}, false},
		{finding.Result{Verdict: finding.Inconclusive}, false},
		{finding.Result{Verdict: finding.Clean, Incomplete: []string{"gap"}}, false},
		{finding.Result{}, false},
	} {
		if tt.r.Good() != tt.want {
			t.Errorf("%+v: good is %t", tt.r.Verdict, !tt.want)
		}
	}
}

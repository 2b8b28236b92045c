package correlate

import (
	"testing"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// What a scan was planned with decides what of its findings weighs.
func TestConcludeWeighs(t *testing.T) {
	fold := func(n int) *Fold {
		f := NewFold()
		for i := 1; i <= n; i++ {
			f.Add(entry(i, "R", finding.Critical, "fd.name", "/home/u/.ssh/id_rsa", "falconer.package", "pkg:npm/a@1.0.0"))
		}
		return f
	}
	s := ended(1)
	s.Exited.Request.Policy.Suppressions = []scan.Suppression{{Source: "f", Line: 1, Package: "pkg:npm/a", Version: "1.0.0", Rule: "R", Detail: "file:/home/u/.ssh/id_rsa",
		Owner: "team", Reason: "looked", Expires: s.Exited.At.UTC().Format("2006-01-02")}}
	r := Conclude(s, fold(1), Overflow{}, nil, nil)
	if r.Verdict != finding.Clean || len(r.Findings) != 1 || r.Findings[0].Suppressed.Owner != "team" || r.Findings[0].Detail != "file:/home/u/.ssh/id_rsa" {
		t.Fatalf("suppressed: %s, %+v", r.Verdict, r.Findings)
	}
	known := r
	known.Findings = append([]finding.Finding(nil), r.Findings...)
	known.Findings[0].Suppressed = finding.Suppressed{}
	if same := Conclude(s, fold(1), Overflow{}, nil, &known); same.Findings[0].Baseline != finding.Known || same.Baseline.ScanID != known.ScanID {
		t.Errorf("compared: %+v", same.Baseline)
	}
}

// A result of many suppressed findings still fits an event.
func TestFitSuppressed(t *testing.T) {
	r := finding.Result{}
	long := make([]byte, 500)
	for i := range long {
		long[i] = 'x'
	}
	for range finding.MaxFindings {
		r.Findings = append(r.Findings, finding.Finding{Rule: string(long), Summary: string(long), Suppressed: finding.Suppressed{Owner: "o", Reason: string(long)}})
		r.Gone = append(r.Gone, finding.Gone{Summary: string(long)})
	}
	fit(&r)
	if n := size(r); n > MaxResult || len(r.Findings) < 500 {
		t.Errorf("%d bytes, %d findings", n, len(r.Findings))
	}
}

package correlator

import (
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// A scan is compared with the newest good one of those that its policy names, and
// its amendments with the same one, whatever else has become good meanwhile.
func TestBaseline(t *testing.T) {
	r := newRig(t, alerts.Config{})
	run := func(n int, p finding.Priority, policy scan.Policy) finding.Result {
		t.Helper()
		id := scanID(n)
		begin, end := started(id, 1), exited(id, 1, 1)
		begin.Request.Policy, end.Request.Policy = policy, policy
		r.must(r.handle(event.ScanStarted, begin))
		r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, p))))
		r.must(r.handle(event.SandboxExited, end))
		return r.result(id)
	}
	if got := run(2, finding.Warning, scan.Policy{}); got.Verdict != finding.Suspicious || got.Baseline.ScanID != "" {
		t.Fatalf("the first scan: %s, %+v", got.Verdict, got.Baseline)
	}
	if got := run(3, finding.Critical, scan.Policy{}); got.Verdict != finding.Malicious {
		t.Fatalf("the bad one: %s", got.Verdict)
	}
	// 9 is not concluded, 3 is malicious, 1 is the scan itself.
	policy := scan.Policy{Target: "main", Baseline: []scan.ID{scanID(9), scanID(3), scanID(1), scanID(2)}}
	got := run(1, finding.Warning, policy)
	if got.Verdict != finding.Clean || got.Baseline.ScanID != scanID(2) || got.Baseline.Ref != "main" || got.Findings[0].Baseline != finding.Known {
		t.Errorf("%s, compared with %+v: %+v", got.Verdict, got.Baseline, got.Findings)
	}
	run(9, finding.Notice, scan.Policy{})
	late := alert(scanID(1), 2, finding.Critical)
	r.must(r.handle(event.FalcoAlert, r.put(late)))
	got = r.result(scanID(1))
	if got.Revision != 2 || got.Verdict != finding.Malicious || got.Baseline.ScanID != scanID(2) {
		t.Errorf("revision %d: %s, compared with %+v", got.Revision, got.Verdict, got.Baseline)
	}
}

// A suppression that was planned with holds at the scan's end, not when somebody
// looks.
func TestSuppressed(t *testing.T) {
	r := newRig(t, alerts.Config{})
	id := scanID(1)
	a := alert(id, 1, finding.Critical)
	a.Fields["falconer.package"] = "pkg:npm/left-pat@1.3.1"
	begin, end := started(id, 1), exited(id, 1, 1)
	end.Request.Policy = scan.Policy{Suppressions: []scan.Suppression{{Source: ".falconer.yaml", Line: 3, Package: "pkg:npm/left-pat", Version: "1.3.1", Rule: a.Rule,
		Owner: "team", Reason: "looked", Expires: end.At.UTC().Format("2006-01-02")}}}
	begin.Request.Policy = end.Request.Policy
	r.now = r.now.Add(100 * 24 * time.Hour)
	r.must(r.handle(event.ScanStarted, begin))
	r.must(r.handle(event.FalcoAlert, r.put(a)))
	r.must(r.handle(event.SandboxExited, end))
	if got := r.result(id); got.Verdict != finding.Clean || got.Findings[0].Suppressed.Owner != "team" || got.Suppressions[0].Effect != finding.Applied {
		t.Errorf("%s: %+v, %+v", got.Verdict, got.Findings, got.Suppressions)
	}
}

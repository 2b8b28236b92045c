package correlate

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/weigh"
)

// evidenceBudget bounds the evidence in one result, in bytes: a result travels
// as an event. Each finding keeps its first piece.
const evidenceBudget = 512 << 10

// Overflow counts the alerts of a scan that nobody looked at.
type Overflow struct {
	Judged int64 // over the store's limit, urgent enough to change the verdict
	Noted  int64 // over the store's limit, not so urgent
	Unread int64 // stored, but beyond MaxAlerts
}

// Conclude makes the result of a scan that has Ended. prev is the result so
// far, nil for none; the revision is the next one. base is the scan to compare
// with, nil for none. The time of the end, as of which suppressions hold, is the
// sandbox's, so that the same facts make the same result.
func Conclude(s State, f *Fold, over Overflow, prev, base *finding.Result) finding.Result {
	r := finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: s.ScanID, Revision: 1}
	if prev != nil {
		r.Revision = prev.Revision + 1
	}
	describe(&r, s, prev)
	r.Findings = f.Findings()
	r.Counts = finding.Counts{
		Alerts: f.Alerts(), Duplicates: f.base.Duplicates + int64(len(f.repeats)),
		Capped:   over.Judged + over.Noted + over.Unread,
		Findings: int64(len(r.Findings) + len(f.surplus)),
	}
	if s.Exited != nil {
		r.Counts.Capped += s.Exited.AlertsCapped
		r.Counts.SensorEvents, r.Counts.SensorDropped = s.Exited.SensorEvents, s.Exited.SensorDropped
		r.Counts.OutputBytes = s.Exited.OutputBytes
	}
	if p := s.report(); p != nil {
		r.Counts.Capped += p.AlertsCapped
		r.Counts.SensorEvents, r.Counts.SensorDropped = p.SensorEvents, p.Dropped
		r.Unwatched = p.Unwatched
	}
	r.Incomplete = incomplete(s, f, over, r.Counts)
	weigh.Result(&r, s.Request().Policy, base, r.Finished)
	if s.repeats(r.Verdict) {
		r.Reasons = append(r.Reasons, "the scan is run once more")
	}
	fit(&r)
	return r
}

// describe fills in what the events say of the scan.
func describe(r *finding.Result, s State, prev *finding.Result) {
	r.InstallScripts, r.Fetches, r.Excluded = []finding.ScriptPackage{}, []finding.Fetch{}, []string{}
	switch {
	case s.Exited != nil:
		r.Finished, r.Sandbox, r.Packages, r.Log = s.Exited.At, s.Exited.Sandbox, s.Exited.Packages, s.Exited.Log
		r.InstallScripts = append(r.InstallScripts, s.Exited.InstallScripts...)
		r.Fetches = append(r.Fetches, s.Exited.Fetches...)
	case !s.Lost.IsZero():
		r.Finished = s.Lost
		r.Sandbox = finding.Sandbox{Reason: "lost", ExitCode: -1, Detail: "the sandbox never reported its end"}
		if s.Started != nil {
			r.Sandbox.Kind = s.Started.Sandbox
		}
	}
	if s.Slim && prev != nil {
		r.Log, r.InstallScripts, r.Fetches = prev.Log, prev.InstallScripts, prev.Fetches
	}
	r.Started = r.Finished
	if s.Started != nil {
		r.Started = s.Started.At
	}
	q := s.Request()
	r.Project, r.Ref, r.Commit, r.Root, r.Manager = q.Project, q.Ref, q.Commit, q.Root, q.Manager
	r.Lockfile, r.Rules, r.Recipe = q.Lockfile, q.Rules, q.Recipe
	r.Excluded = append(r.Excluded, q.Source.Excluded...)
}

// incomplete lists what could not be checked.
func incomplete(s State, f *Fold, over Overflow, c finding.Counts) []string {
	list := []string{}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if !s.Lost.IsZero() && s.Exited == nil {
		add("sandbox lost: it was started and never reported its end")
	}
	if x := s.Exited; x != nil {
		list = append(list, x.Incomplete...)
		if len(x.Incomplete) == 0 && x.Sandbox.Reason != "completed" {
			add("the install did not complete: %s", cmp.Or(x.Sandbox.Reason, "no reason given"))
		}
		if len(x.Incomplete) == 0 && x.SensorDropped > 0 {
			add("the sensor lost %d of the sandbox's events", x.SensorDropped)
		}
		capped, stored := x.AlertsCapped, x.AlertsStored
		if p := s.report(); p != nil {
			list = append(list, reported(p, x.Sandbox.Reason)...)
			capped, stored = capped+p.AlertsCapped, stored+p.AlertsStored
		}
		if s.unseen() {
			add("the sensor did not watch this scan to its end")
		}
		if capped > 0 {
			add("%d alerts were beyond the sensor's limits: counted, not kept", capped)
		}
		if seen := c.Alerts + c.Duplicates + over.Judged + over.Noted + over.Unread; stored > seen {
			add("the sensor stored %d alerts, only %d of them could be read", stored, seen)
		}
	}
	if n := len(f.broken); n > 0 {
		add("%d stored alerts could not be read", n)
	}
	if over.Judged > 0 {
		add("%d alerts of priority Warning or above were beyond the limit for their rule: counted, not kept", over.Judged)
	}
	if over.Unread > 0 {
		add("%d alerts were beyond the limit of %d for one scan: counted, not looked at", over.Unread, MaxAlerts)
	}
	return list
}

// reported lists what the report of a sensor apart leaves open.
func reported(p *event.SensorReport, reason string) []string {
	list := slices.Clone(p.Incomplete)
	if len(list) == 0 && p.Dropped > 0 {
		list = append(list, fmt.Sprintf("the sensor lost %d of the sandbox's events", p.Dropped))
	}
	if n := len(p.Outlived); n > 0 && reason == "completed" {
		list = append(list, "still running after the install, and stopped then: "+strings.Join(p.Outlived[:min(n, 3)], "; "))
	}
	return list
}

// Findings returns copies of the findings, most urgent first, with as much
// evidence as fits the budget.
func (f *Fold) Findings() []finding.Finding {
	list := slices.SortedFunc(maps.Values(f.findings), urgency)
	out := make([]finding.Finding, len(list))
	budget := evidenceBudget
	for i, g := range list {
		x := g.Finding
		x.Behaviours = append([]string{}, x.Behaviours...)
		x.Techniques = slices.Clone(x.Techniques)
		kept := 0
		for _, e := range x.Evidence {
			if budget -= evidenceSize(e); budget < 0 && kept > 0 {
				break
			}
			kept++
		}
		x.Evidence = append([]finding.Evidence{}, x.Evidence[:kept]...)
		out[i] = x
	}
	return out
}

// Changed reports whether next says anything that prev does not: other
// findings, another verdict, other counts, another run. Repetitions alone are
// no news.
func Changed(prev, next finding.Result) bool {
	for _, r := range []*finding.Result{&prev, &next} {
		r.Revision, r.Counts.Duplicates = 0, 0
		if len(r.Incomplete) == 0 {
			r.Incomplete = nil
		}
	}
	return prev.Verdict != next.Verdict || prev.Counts != next.Counts || !slices.Equal(prev.Incomplete, next.Incomplete) ||
		prev.Sandbox != next.Sandbox || !slices.Equal(prev.Unwatched, next.Unwatched) || !prev.Finished.Equal(next.Finished) || !reflect.DeepEqual(identities(prev.Findings), identities(next.Findings))
}

// identities reduces findings to what makes a list of them a different one.
func identities(list []finding.Finding) map[string]int64 {
	m := make(map[string]int64, len(list))
	for _, f := range list {
		m[f.ID+f.Priority.String()+string(f.Baseline)+f.Suppressed.Owner] = f.Count
	}
	return m
}

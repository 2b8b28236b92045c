// Package weigh says what a scan's findings come to: compared with a baseline,
// less what people vouched for. It does no I/O.
//
// Guarantees: the same result, policy, baseline and time make the same outcome,
// however often it is weighed; no finding is lost by it; and whatever of the policy
// did not hold is said in the result.
package weigh

import (
	"fmt"
	"slices"
	"time"

	"github.com/falconer-sec/falconer/pkg/baseline"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// Result weighs a result, in place, as of a time. base is the scan to compare
// with, nil for none.
func Result(r *finding.Result, p scan.Policy, base *finding.Result, at time.Time) {
	baseline.Compare(r, base)
	r.Suppressions = suppress.Apply(p.Suppressions, r.Findings, r.Fetches, at)
	r.Notes = notes(*r, p)
	r.Verdict, r.Reasons = finding.Judge(r.Findings, r.Incomplete)
}

// maxBroad bounds the notes on single suppressions; each stands in the list too.
const maxBroad = 20

// notes says in plain words what did not hold.
func notes(r finding.Result, p scan.Policy) []string {
	list := slices.Clone(p.Problems)
	if p.Target != "" && r.Baseline.ScanID == "" {
		list = append(list, fmt.Sprintf("there is no good scan of %s to compare with: every finding is new", p.Target))
	}
	if r.Baseline.ScanID != "" && len(r.Incomplete) > 0 {
		list = append(list, "what is gone can't be told: not everything was checked")
	}
	unsaid := 0
	for _, s := range r.Suppressions {
		text := problem(s)
		switch {
		case text == "":
		case len(list) >= maxBroad:
			unsaid++
		default:
			list = append(list, fmt.Sprintf("%s:%d: %s: %s", s.Source, s.Line, s.Package, text))
		}
	}
	if unsaid > 0 {
		list = append(list, fmt.Sprintf("%d more suppressions did not hold as they stand", unsaid))
	}
	return list
}

// problem says what is wrong with a suppression, "" for nothing.
func problem(s finding.Suppression) string {
	would := ""
	if s.Findings > 0 {
		would = fmt.Sprintf("; it would match %d", s.Findings)
	}
	switch {
	case s.Effect == finding.Void:
		return "does not count: " + s.Void + would
	case s.Effect == finding.Expired:
		return "expired after " + s.Expires + would
	case s.Effect == finding.Unused:
		return "matches nothing"
	case s.Broad != "":
		return "broader than what it was made for: " + s.Broad
	}
	return ""
}

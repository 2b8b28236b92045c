package finding

import (
	"fmt"
	"slices"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// State compares a finding with the baseline.
type State string

// The states. Another version of a package is other code: its findings are new.
const (
	New   State = "new"
	Known State = "known" // the baseline has it, as urgent, and it weighed there
)

// Suppressed says who vouched for a finding. Zero for one that nobody did.
type Suppressed struct {
	Owner   string `json:"owner"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // last day, "2026-12-31"
	Source  string `json:"source"`  // the file
	Line    int    `json:"line"`
}

// Says is the word in one line.
func (s Suppressed) Says() string {
	return fmt.Sprintf("suppressed by %s until %s: %s (%s:%d)", s.Owner, s.Expires, s.Reason, s.Source, s.Line)
}

// Weighs reports whether the finding counts for the verdict. One that is
// suppressed does not. One that is known does not either, unless it is Critical or
// worse: malice does not become harmless by having been there before.
func (f Finding) Weighs() bool {
	if f.Suppressed.Owner != "" || f.Priority > Warning {
		return false
	}
	return f.Baseline != Known || f.Priority <= Critical
}

// Unweighed reports whether there are findings that would count, if they were not
// known or suppressed.
func (r Result) Unweighed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Priority <= Warning && !f.Weighs() })
}

// Baseline is the scan that findings are compared with.
type Baseline struct {
	ScanID   scan.ID   `json:"scan_id"`
	Ref      string    `json:"ref,omitempty"`
	Commit   string    `json:"commit,omitempty"`
	Verdict  Verdict   `json:"verdict"`
	Finished time.Time `json:"finished"`
}

// Good reports whether a result may be a baseline: it saw everything, and
// nothing in it was malicious.
func (r Result) Good() bool {
	return (r.Verdict == Clean || r.Verdict == Suspicious) && len(r.Incomplete) == 0
}

// Gone is a finding of the baseline that the scan does not have.
type Gone struct {
	ID       string   `json:"id"`
	Rule     string   `json:"rule"`
	Priority Priority `json:"priority"`
	Package  Package  `json:"package"`
	Phase    string   `json:"phase"`
	Script   string   `json:"script"`
	Detail   string   `json:"detail,omitempty"`
	Summary  string   `json:"summary"`
}

// Effect is what became of a suppression in a scan.
type Effect string

// The effects.
const (
	Applied Effect = "applied"
	Unused  Effect = "unused"  // it matches nothing
	Expired Effect = "expired" // its day is over
	Void    Effect = "void"    // it does not count: its Void says why
)

// Suppression is what became of a suppression.
type Suppression struct {
	scan.Suppression
	Effect   Effect `json:"effect"`
	Findings int    `json:"findings"` // that it matches, suppressed by it or not
	// Broad says in what it covers more than the findings that it was made for; ""
	// if it does not.
	Broad string `json:"broad,omitempty"`
}

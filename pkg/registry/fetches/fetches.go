// Package fetches keeps what each scan fetched through the registry service, and
// asks the service for it.
//
// Guarantees: what Save acknowledged survives the service; a log that was cut
// off by the end of a process says so once it is read (Open), so that nobody
// takes it for the whole; a log is bounded (MaxFetches, MaxProblems, MaxText) and
// counts what it leaves out.
package fetches

import (
	"slices"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// The bounds of a log.
const (
	MaxFetches  = 10_000
	MaxProblems = 100
	MaxText     = 300 // bytes of one name, version, reason or problem
)

// Log is what one attempt at a scan fetched.
type Log struct {
	Fetches  []finding.Fetch `json:"fetches"` // in order of completion, refusals included
	Unlisted int             `json:"unlisted"`
	// Problems are what makes the install or this log untrustworthy: each
	// belongs into event.Exited.Incomplete.
	Problems []string `json:"problems"`
}

// Interrupted is the problem of a log that a process left open.
const Interrupted = "the registry service ended in the middle of the scan: what it fetched just before is not listed"

// bounded returns f with its texts cut.
func bounded(f finding.Fetch) finding.Fetch {
	f.Name, f.Version, f.Integrity, f.Refused = cut(f.Name), cut(f.Version), cut(f.Integrity), cut(f.Refused)
	return f
}

// cut shortens a text to MaxText bytes; JSON makes what it cuts in two a
// replacement character.
func cut(s string) string { return s[:min(len(s), MaxText)] }

// AddProblem appends a problem unless it is listed or there are too many.
func AddProblem(list []string, p string) []string {
	if p = cut(p); len(list) >= MaxProblems || slices.Contains(list, p) {
		return list
	}
	return append(list, p)
}

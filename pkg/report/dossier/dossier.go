// Package dossier is what every machine-readable report is rendered from: the
// findings of one or more scans of a source, put together once.
//
// Guarantees:
//   - Every text is one printable line of bounded length (report.Printable), and
//     the number of entries is bounded: nothing from a sandbox is markup, drives
//     a terminal or blows up a document. A format's own escaping comes on top.
//   - The same results make the same dossier, in any order they are given in.
//   - An issue's identity names the lockfile, the package and the rule, nothing
//     that differs between two runs of the same code: no address, port, process
//     or time.
//   - Complete is false as soon as anything was not checked or not kept, whatever
//     the verdict. A format that can't say so must not render an empty success.
package dossier

import (
	"cmp"
	"path"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
)

// Bounds, in characters and entries.
const (
	maxName     = 250  // of packages, rules, scripts
	maxText     = 1000 // of descriptions, commands and files
	maxReason   = 500
	maxGaps     = 50 // a scan
	maxChain    = 12 // the middle of a longer chain is left out
	maxEvidence = finding.MaxEvidence
	maxTags     = 20
	maxPackages = 20000
)

// Unnamed stands for the package of issues that could not be attributed. No
// package manager's package can have this name.
const Unnamed = "(no package could be named)"

// Input is what a dossier is made from.
type Input struct {
	Version  string           // falconer's own
	Results  []finding.Result // of one source
	Rejected []Rejection      // what of the source could not be scanned at all
	Gaps     []string         // what else was not checked, as whoever asks knows
	Now      func() time.Time // for a dossier without a single result
}

// Rejection is a project root that has no result, and why.
type Rejection struct{ Project, Reason string }

// Dossier is the finding set.
type Dossier struct {
	ID       string // a UUID made from the scans'
	Version  string // falconer's own
	Verdict  finding.Verdict
	Complete bool
	Gaps     []string  // what was not checked, over all scans; not empty if !Complete
	Beside   []string  // those of Gaps that belong to no scan
	Start    time.Time // UTC
	End      time.Time
	Scans    []Scan // by lockfile
	Issues   []Issue
}

// Scan is one result's frame.
type Scan struct {
	ID        string // a UUID
	Revision  int
	Verdict   finding.Verdict
	Complete  bool
	Gaps      []string
	Unwatched []string // known limits of the installation
	Project   string
	Ref       string
	Commit    string
	Root      string
	File      string // the lockfile's path in the source
	Manager   string
	Rules     string
	Recipe    string
	Start     time.Time
	End       time.Time
	Pinned    int // packages that the lockfile pins
	Packages  []Package
	ExitCode  int
	Baseline  string  // ID (a UUID) of the scan that it was compared with; "" for none
	Gone      []Issue // of the baseline, without evidence; none that Issues has too
	Notes     []string
}

// Issue is what one package did against one rule in one scan.
type Issue struct {
	ID         string // UUID of the identity
	Scan       int    // index of Scans
	Package    Package
	Rule       string
	Priority   finding.Priority
	Summary    string
	Behaviours []string
	Techniques []string
	Scripts    []string // lifecycle scripts, none if it happened outside one
	Claimed    bool     // the package is only what a process said it belongs to
	Count      int64
	State      finding.State // known if all its findings are; "" where there is nothing to compare with
	Previous   string        // version of the package that had it in the baseline, and is gone
	Suppressed string        // who vouched for all its findings, in words; "" unless all are
	Findings   []string      // IDs of the findings that it is made of
	Evidence   []Evidence
}

// Evidence is one occurrence.
type Evidence struct {
	Time    time.Time
	Chain   []string
	Command string
	File    string
	Address string
	Said    string // what was said to that address, in one line
	Syscall string
	Output  string
}

// namespace is the UUIDv5 name space of issue IDs.
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/falconer-sec/falconer/issue"))

// Make puts the dossier together.
func Make(in Input) Dossier {
	results := slices.Clone(in.Results)
	slices.SortStableFunc(results, func(a, b finding.Result) int {
		return cmp.Or(cmp.Compare(file(a), file(b)), cmp.Compare(a.ScanID, b.ScanID), cmp.Compare(a.Revision, b.Revision))
	})
	d := Dossier{Version: cmp.Or(report.Printable(in.Version, maxName), "unknown"), Complete: true}
	for i, r := range results {
		s := scanOf(r)
		d.Verdict = finding.Worst(d.Verdict, s.Verdict)
		d.Complete = d.Complete && s.Complete
		for _, g := range s.Gaps {
			d.gap(prefix(len(results) > 1, s.File) + g)
		}
		d.span(s.Start, s.End)
		d.Scans = append(d.Scans, s)
		found := issues(i, s, r.Findings)
		d.Scans[i].Gone = gone(i, s, r.Gone, found)
		d.Issues = append(d.Issues, found...)
	}
	for _, r := range in.Rejected {
		d.beside("not scanned: " + cmp.Or(report.Printable(r.Reason, maxReason), "no reason was given"))
	}
	for _, g := range in.Gaps {
		d.beside(cmp.Or(report.Printable(g, maxReason), "something was not checked, and nobody said what"))
	}
	if len(results) == 0 {
		d.beside("there is no result")
		d.span(in.now(), in.now())
	}
	if !d.Complete {
		d.Verdict = finding.Worst(d.Verdict, finding.Inconclusive)
	}
	slices.SortStableFunc(d.Issues, urgency)
	d.ID = identity(d.Scans)
	return d
}

func (in Input) now() time.Time {
	if in.Now == nil {
		return time.Time{}
	}
	return in.Now().UTC()
}

// gap notes what was not checked.
func (d *Dossier) gap(reason string) {
	d.Complete = false
	switch {
	case len(d.Gaps) < maxGaps:
		d.Gaps = append(d.Gaps, reason)
	case len(d.Gaps) == maxGaps:
		d.Gaps = append(d.Gaps, "and more")
	}
}

// beside notes what was not checked and belongs to no scan.
func (d *Dossier) beside(reason string) {
	d.gap(reason)
	if len(d.Beside) < maxGaps {
		d.Beside = append(d.Beside, reason)
	}
}

func (d *Dossier) span(start, end time.Time) {
	if d.Start.IsZero() || start.Before(d.Start) {
		d.Start = start
	}
	if end.After(d.End) {
		d.End = end
	}
}

func prefix(needed bool, file string) string {
	if !needed {
		return ""
	}
	return file + ": "
}

// urgency orders issues: worst first, then by what identifies them.
func urgency(a, b Issue) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Scan, b.Scan),
		cmp.Compare(a.Package.Key(), b.Package.Key()), cmp.Compare(a.Rule, b.Rule))
}

// identity is one scan's ID, or one made from all of them.
func identity(scans []Scan) string {
	if len(scans) == 1 {
		return scans[0].ID
	}
	parts := []string{"dossier"}
	for _, s := range scans {
		parts = append(parts, s.ID)
	}
	return uuidOf(parts...)
}

func uuidOf(parts ...string) string {
	return uuid.NewSHA1(namespace, []byte(finding.Fingerprint(parts...))).String()
}

// file is where a result's lockfile stands in the source.
func file(r finding.Result) string {
	p := path.Join("/", r.Root, r.Lockfile)[1:]
	if r.Lockfile == "" || p == "" {
		p = path.Join(p, "unknown")
	}
	return p
}

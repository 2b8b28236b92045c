// Package baseline compares what a scan found with the last good scan of the
// branch that it is to be merged into. It does no I/O.
//
// Guarantees:
//   - A finding is known only if the baseline has the same one (rule, package with
//     version, phase, script and detail), at least as urgent, and weighed it: one
//     that was suppressed there is new once the suppression ends, and so is one
//     that got worse.
//   - Another version of a package is other code. Its findings are new; the version
//     that had them before is named beside.
//   - What only a process's environment claims is never known, nor is what belongs
//     to no package and no script: it may be anybody's.
//   - Gone is said only by a scan that saw everything.
package baseline

import (
	"cmp"
	"slices"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// Compare marks a result's findings as new or known, in place, and lists what is
// gone. A nil base, or one that is not good, is none: nothing is marked. What was
// marked before is marked anew.
func Compare(r *finding.Result, base *finding.Result) {
	r.Baseline, r.Gone = finding.Baseline{}, nil
	for i := range r.Findings {
		r.Findings[i].Baseline, r.Findings[i].Previous = "", ""
	}
	if base == nil || !base.Good() {
		return
	}
	r.Baseline = finding.Baseline{ScanID: base.ScanID, Ref: base.Ref, Commit: base.Commit, Verdict: base.Verdict, Finished: base.Finished}
	before := map[string]finding.Finding{}
	for _, f := range base.Findings {
		before[f.ID] = f
	}
	left := map[string]finding.Finding{} // of the baseline, and not here under the same ID
	for id, f := range before {
		left[id] = f
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		old, there := before[f.ID]
		delete(left, f.ID)
		f.Baseline = finding.New
		if there && somebodys(*f) && somebodys(old) && f.Priority >= old.Priority && old.Suppressed == (finding.Suppressed{}) {
			f.Baseline = finding.Known
		}
	}
	succeed(r.Findings, left)
	if len(r.Incomplete) > 0 || r.Counts.Findings > int64(len(r.Findings)) {
		return
	}
	for _, f := range left {
		r.Gone = append(r.Gone, finding.Gone{ID: f.ID, Rule: f.Rule, Priority: f.Priority, Package: f.Package, Phase: f.Phase, Script: f.Script, Detail: f.Detail, Summary: f.Summary})
	}
	slices.SortFunc(r.Gone, func(a, b finding.Gone) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
}

// somebodys reports whether it is certain whose finding it is: a package's, or a
// script's of the project itself.
func somebodys(f finding.Finding) bool {
	return !f.Claimed && (f.Package.PURL != "" || f.Script != "")
}

// lineage is what a finding shares with the same one of another version.
type lineage struct{ pkg, rule, phase, script, detail string }

func lineageOf(f finding.Finding) (lineage, bool) {
	pkg, _, err := suppress.Canonical(f.Package.PURL)
	return lineage{pkg, f.Rule, f.Phase, f.Script, f.Detail}, err == nil
}

// succeed names, beside each new finding, the package's version that had it before
// and is gone, and takes that finding out of those left.
func succeed(findings []finding.Finding, left map[string]finding.Finding) {
	ancestors := map[lineage][]finding.Finding{}
	for _, f := range left {
		if l, ok := lineageOf(f); ok {
			ancestors[l] = append(ancestors[l], f)
		}
	}
	for _, list := range ancestors {
		slices.SortFunc(list, func(a, b finding.Finding) int { return cmp.Compare(a.Package.PURL, b.Package.PURL) })
	}
	for i := range findings {
		f := &findings[i]
		l, ok := lineageOf(*f)
		if list := ancestors[l]; ok && f.Baseline == finding.New && len(list) > 0 {
			last := list[len(list)-1]
			if last.ID == f.ID {
				continue
			}
			f.Previous = last.Package.PURL
			delete(left, last.ID)
		}
	}
}

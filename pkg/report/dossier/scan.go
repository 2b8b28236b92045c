package dossier

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// scanOf frames a result.
func scanOf(r finding.Result) Scan {
	s := Scan{
		Revision: max(r.Revision, 1), Verdict: r.Verdict, Complete: true,
		Project: report.Printable(r.Project, maxName), Ref: report.Printable(r.Ref, maxName), Commit: report.Printable(r.Commit, maxName),
		Root: report.Printable(r.Root, maxText), File: report.Printable(file(r), maxText), Manager: report.Printable(r.Manager, maxName),
		Rules: report.Printable(r.Rules, maxName), Recipe: report.Printable(r.Recipe, maxName),
		Start: r.Started.UTC(), End: r.Finished.UTC(), Pinned: r.Packages, Packages: packages(r), ExitCode: r.Sandbox.ExitCode,
	}
	s.ID = scanID(r.ScanID)
	for _, u := range r.Unwatched[:min(len(r.Unwatched), maxGaps)] {
		s.Unwatched = append(s.Unwatched, report.Printable(u, maxReason))
	}
	if r.Baseline.ScanID != "" {
		s.Baseline = scanID(r.Baseline.ScanID)
	}
	s.Notes = printables(r.Notes, maxGaps)
	s.gaps(r)
	return s
}

// scanID returns a scan's ID, or one made from what is no UUID that formats
// take (SARIF: versions 1 to 5).
func scanID(id scan.ID) string {
	if canonical, err := scan.ParseID(string(id)); err == nil {
		if u := uuid.MustParse(string(canonical)); u.Variant() == uuid.RFC4122 && u.Version() >= 1 && u.Version() <= 5 {
			return string(canonical)
		}
	}
	return uuidOf("scan", string(id))
}

// gaps collects what was not checked. A verdict that is no verdict is one.
func (s *Scan) gaps(r finding.Result) {
	for i, reason := range r.Incomplete {
		if i == maxGaps {
			s.Gaps = append(s.Gaps, fmt.Sprintf("and %d more", len(r.Incomplete)-i))
			break
		}
		s.Gaps = append(s.Gaps, report.Printable(reason, maxReason))
	}
	if lost := r.Counts.Findings - int64(len(r.Findings)); lost > 0 {
		s.Gaps = append(s.Gaps, fmt.Sprintf("%d more findings were counted but not kept", lost))
	}
	switch r.Verdict {
	case finding.Clean, finding.Suspicious, finding.Malicious:
	default:
		s.Verdict = finding.Inconclusive
		if len(s.Gaps) == 0 {
			s.Gaps = append(s.Gaps, "the scan came to no conclusion")
		}
	}
	s.Complete = len(s.Gaps) == 0
}

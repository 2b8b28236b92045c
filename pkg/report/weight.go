package report

import (
	"fmt"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// rank orders findings by what they mean to the reader: what is new or has nothing
// to compare with, what is known, what somebody vouched for.
func rank(f finding.Finding) int {
	switch {
	case f.Suppressed.Owner != "":
		return 2
	case f.Baseline == finding.Known:
		return 1
	}
	return 0
}

// compared says what a result was compared with, and with what outcome.
func compared(r finding.Result) string {
	b := r.Baseline
	if b.ScanID == "" {
		return ""
	}
	fresh, known := 0, 0
	for _, f := range r.Findings {
		switch f.Baseline {
		case finding.New:
			fresh++
		case finding.Known:
			known++
		}
	}
	what := strings.TrimSpace(b.Ref + " " + b.Commit[:min(len(b.Commit), 12)])
	if what == "" {
		what = "scan " + string(b.ScanID)
	}
	return fmt.Sprintf("%s, %s: %d new, %d known, %d gone", escape(what), b.Finished.UTC().Format("2006-01-02"), fresh, known, len(r.Gone))
}

// vouched says who vouched for a finding, and which version had it before.
func (p *printer) vouched(f finding.Finding) {
	if s := f.Suppressed; s.Owner != "" {
		label := "ignored"
		for _, l := range wrap(escape(s.Says()), p.width-15) {
			p.detail(label, l)
			label = ""
		}
	}
	if p.verbose {
		p.detail("detail", escape(f.Detail)) // what a suppression names
	}
	if f.Previous != "" {
		p.detail("before", escape(f.Previous)+" did the same: this version is other code")
	}
}

// gone lists the findings that the baseline had and this scan has not.
func (p *printer) gone(r finding.Result) {
	var lines []string
	for _, g := range r.Gone {
		lines = append(lines, fmt.Sprintf("%s  %s  %s", g.Priority, g.Rule, strings.TrimSpace(name(g.Package)+" "+g.Script)))
	}
	p.list("Gone since the baseline", lines)
}

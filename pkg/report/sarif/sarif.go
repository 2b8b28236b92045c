// Package sarif renders a dossier as SARIF 2.1.0 (OASIS, errata 01), one run a
// scan.
//
// Guarantees:
//   - invocation.executionSuccessful is false, with an error notification for
//     each reason, unless everything was checked; a source of which nothing could
//     be scanned makes a run as well, which says so.
//   - Text is escaped for SARIF's message syntax: nothing from a sandbox becomes a
//     link or a placeholder; URIs are percent-encoded. What is data only stands in
//     property bags as it is.
//   - Results carry stable fingerprints, without address, port, process or time.
//   - The same dossier makes the same bytes.
package sarif

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// schemaURI names the schema in its place at OASIS, which does not move.
const schemaURI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// fingerprint is the name of the fingerprint; the number changes with what it
// is made from.
const fingerprint = "falconer/v1"

// Write writes the log, indented, with a newline at its end. The error is w's.
func Write(w io.Writer, d dossier.Dossier) error {
	text, err := json.MarshalIndent(New(d), "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(report.Inert(text), '\n'))
	return err
}

// New makes the log.
func New(d dossier.Dossier) *sarif.Report {
	log := sarif.NewReport()
	log.Schema = schemaURI
	for n, s := range d.Scans {
		log.AddRun(run(d, n, s))
	}
	if len(d.Beside) > 0 {
		r := newRun(d.Version)
		r.AddInvocation(invocation(false, d.Start, d.End, d.Beside, nil))
		log.AddRun(r)
	}
	return log
}

func newRun(version string) *sarif.Run {
	r := sarif.NewRunWithInformationURI("Falconer", "https://github.com/falconer-sec/falconer")
	r.Tool.Driver.WithVersion(version)
	return r
}

func run(d dossier.Dossier, n int, s dossier.Scan) *sarif.Run {
	r := newRun(d.Version)
	v := invocation(s.Complete, s.Start, s.End, s.Gaps, s.Unwatched)
	for _, n := range s.Notes {
		v.AddToolExecutionNotification(notification(sarif.LevelWarning, "Baseline and suppressions: "+n))
	}
	r.AddInvocation(v)
	if s.Baseline != "" {
		r.WithBaselineGuID(s.Baseline)
	}
	r.WithAutomationDetails(sarif.NewRunAutomationDetails().WithID("falconer/" + strings.Trim(uri(s.File), "/") + "/").WithGuID(s.ID))
	r.WithProperties(sarif.NewPropertyBag().Add("falconer/verdict", string(s.Verdict)).Add("falconer/rules", s.Rules).Add("falconer/recipe", s.Recipe).
		Add("falconer/project", s.Project).Add("falconer/ref", s.Ref).Add("falconer/commit", s.Commit).Add("falconer/revision", s.Revision))
	rules := map[string]int{}
	add := func(i dossier.Issue, state string) {
		index, known := rules[i.Rule]
		if !known {
			index = len(rules)
			rules[i.Rule] = index
			r.Tool.Driver.AddRule(rule(i))
		}
		x := result(i, s, index)
		if s.Baseline != "" {
			x.WithBaselineState(state)
		}
		r.AddResult(x)
	}
	for _, i := range d.Issues {
		if i.Scan == n {
			add(i, baselineState(i))
		}
	}
	for _, i := range s.Gone {
		add(i, "absent")
	}
	return r
}

// baselineState is SARIF's word (section 3.27.24) for a comparison.
func baselineState(i dossier.Issue) string {
	switch {
	case i.State == finding.Known:
		return "unchanged"
	case i.Previous != "":
		return "updated" // the same of another version, which is new code
	}
	return "new"
}

// invocation says whether everything was checked, and what not.
func invocation(complete bool, start, end time.Time, gaps, unwatched []string) *sarif.Invocation {
	v := sarif.NewInvocation().WithExecutionSuccessful(complete).WithStartTimeUtc(clock(start)).WithEndTimeUtc(clock(end))
	for _, g := range gaps {
		v.AddToolExecutionNotification(notification(sarif.LevelError, g))
	}
	for _, u := range unwatched {
		v.AddToolExecutionNotification(notification(sarif.LevelNote, "Not seen by this installation's sensor: "+u))
	}
	return v
}

func notification(level, text string) *sarif.Notification {
	return sarif.NewNotification().WithLevel(level).WithMessage(message(text))
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func rule(i dossier.Issue) *sarif.ReportingDescriptor {
	text := sarif.NewMultiformatMessageString().WithText(escape(i.Rule))
	bag := sarif.NewPropertyBag().WithTags(append([]string{"security", "supply-chain", "external/cwe/cwe-506"}, i.Techniques...))
	bag.Add("security-severity", score(i.Priority))
	return sarif.NewReportingDescriptor().WithID(i.Rule).WithName(i.Rule).WithShortDescription(text).
		WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(level(i.Priority))).WithProperties(bag)
}

// level is SARIF's word for a priority.
func level(p finding.Priority) string {
	switch {
	case p <= finding.Error:
		return sarif.LevelError
	case p == finding.Warning:
		return sarif.LevelWarning
	}
	return sarif.LevelNote
}

// score is what GitHub's code scanning grades by.
func score(p finding.Priority) string {
	switch {
	case p <= finding.Critical:
		return "9.5"
	case p == finding.Error:
		return "8.0"
	case p == finding.Warning:
		return "5.0"
	}
	return "0.1"
}

// message is a text that is shown as it is.
func message(text string) *sarif.Message { return sarif.NewMessage().WithText(escape(text)) }

// escape takes the meaning from what SARIF's message strings give one:
// placeholders (section 3.11.5) and links (3.11.6).
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `{`, `{{`, `}`, `}}`).Replace(s)
}

// uri is a path as a relative reference; a colon in it makes no scheme.
func uri(path string) string { return (&url.URL{Path: path}).String() }

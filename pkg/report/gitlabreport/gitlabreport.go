// Package gitlabreport renders a dossier as GitLab's dependency scanning report,
// schema 15.2.1: the artifact gl-dependency-scanning-report.json.
//
// Guarantees:
//   - scan.status is "failure", with a fatal message for each reason, unless
//     everything was checked. GitLab resolves vulnerabilities that a successful
//     report doesn't list, so that a scan that saw only part must not succeed.
//   - The scanner is "packagehunter", so that policies made for GitLab's Package
//     Hunter keep matching.
//   - What GitLab recognises a vulnerability by (first identifier, file, package)
//     and its id hold no address, port, process or time, and no two
//     vulnerabilities of a report share an id.
//   - The description is Markdown in which nothing from a sandbox is markup; all
//     else from there stands in plain text fields.
//   - The same dossier makes the same bytes.
package gitlabreport

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab/markdown"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// Identifier types. The first is what GitLab recognises a vulnerability by.
const (
	identifierRule = "falconer_rule"
	identifierCWE  = "cwe"
)

// Write writes the report, indented, with a newline at its end. The error is
// w's.
func Write(w io.Writer, d dossier.Dossier) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(New(d)); err != nil {
		return err
	}
	_, err := w.Write(report.Inert(b.Bytes()))
	return err
}

// New makes the report.
func New(d dossier.Dossier) Report {
	r := Report{Version: Version, Vulnerabilities: []Vulnerability{}, Scan: Scan{
		Analyzer: Tool{ID: "falconer", Name: "Falconer", URL: "https://github.com/falconer-sec/falconer", Version: d.Version, Vendor: Vendor{"Falconer"}},
		Scanner:  Tool{ID: "packagehunter", Name: "Package Hunter", Version: d.Version, Vendor: Vendor{"Falconer"}},
		Type:     "dependency_scanning", StartTime: clock(d.Start), EndTime: clock(d.End), Status: "success",
	}}
	if !d.Complete {
		r.Scan.Status = "failure"
		for _, g := range d.Gaps {
			r.Scan.Messages = append(r.Scan.Messages, Message{"fatal", g})
		}
	}
	for _, s := range d.Scans {
		for _, n := range s.Notes {
			r.Scan.Messages = append(r.Scan.Messages, Message{"warn", s.File + ": baseline and suppressions: " + n})
		}
		for _, u := range s.Unwatched {
			r.Scan.Messages = append(r.Scan.Messages, Message{"info", s.File + ": not seen by this installation's sensor: " + u})
		}
		r.Scan.Options = append(r.Scan.Options, option("FALCONER_SCAN_ID", s.ID), option("FALCONER_RULES", s.Rules), option("FALCONER_RECIPE", s.Recipe))
	}
	for _, i := range d.Issues {
		r.Vulnerabilities = append(r.Vulnerabilities, vulnerability(i, d.Scans[i.Scan]))
	}
	return r
}

// clock is a time as the schema's pattern has it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }

func option(name, value string) Option { return Option{name, value, "other"} }

func vulnerability(i dossier.Issue, s dossier.Scan) Vulnerability {
	return Vulnerability{
		ID: i.ID, Name: i.Rule, Description: description(i), Severity: Severity(i.Priority), Solution: solution(i.Priority),
		Identifiers: identifiers(i),
		Location:    Location{s.File, Dependency{PackageName{i.Package.Name}, i.Package.Version}},
		Details:     details(i, s),
		Flags:       flags(i),
	}
}

// flags marks what somebody vouched for. It is reported all the same: what a
// successful report leaves out counts as resolved.
func flags(i dossier.Issue) []Flag {
	if i.Suppressed == "" {
		return nil
	}
	return []Flag{{"flagged-as-likely-false-positive", "falconer", i.Suppressed}}
}

// Severity is GitLab's word for a priority. What is reported but not judged,
// Notice and below, is Info.
func Severity(p finding.Priority) string {
	switch {
	case p <= finding.Critical:
		return "Critical"
	case p == finding.Error:
		return "High"
	case p == finding.Warning:
		return "Medium"
	}
	return "Info"
}

// identifiers names the rule first; the weakness and the techniques are
// references.
func identifiers(i dossier.Issue) []Identifier {
	list := []Identifier{
		{Type: identifierRule, Name: i.Rule, Value: i.Rule},
		{Type: identifierCWE, Name: "CWE-506", Value: "506", URL: "https://cwe.mitre.org/data/definitions/506.html"},
	}
	for _, t := range i.Techniques {
		list = append(list, Identifier{Type: "attack_technique", Name: t, Value: t})
	}
	return list
}

// description explains the issue in Markdown.
func description(i dossier.Issue) string {
	var b strings.Builder
	b.WriteString(markdown.Code(i.Package.Name))
	if i.Package.Version != "" {
		b.WriteString(" " + markdown.Code(i.Package.Version))
	}
	b.WriteString(" did something during its installation that a rule objects to: " + markdown.Code(i.Rule) + ".")
	if len(i.Scripts) > 0 {
		b.WriteString(" It happened in: " + markdown.Code(strings.Join(i.Scripts, ", ")) + ".")
	}
	if i.Summary != "" {
		b.WriteString("\n\n" + markdown.Code(i.Summary))
	}
	if i.Claimed {
		b.WriteString("\n\nThe package is what the process itself named: a hint, no proof.")
	}
	return b.String()
}

func solution(p finding.Priority) string {
	switch {
	case p <= finding.Critical:
		return "Don't install this version. Remove the package or pin a version from before, and treat every credential that a machine with it could reach as stolen."
	case p <= finding.Warning:
		return "Look at what the package did, and whether its documentation explains it; if not, treat it as malicious."
	}
	return ""
}

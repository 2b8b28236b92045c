package dossier

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
)

// issues groups findings by package and rule: findings also differ by file,
// address, phase and script, which formats and their readers take for the same
// problem. Suppressed ones count only where all of an issue's are.
func issues(scan int, s Scan, list []finding.Finding) []Issue {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b finding.Finding) int {
		return cmp.Or(cmp.Compare(vouched(a), vouched(b)), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	index := map[string]int{}
	var out []Issue
	for _, f := range list {
		p, rule := packageOf(f.Package), cmp.Or(report.Printable(f.Rule, maxName), "unnamed rule")
		id := uuidOf(s.File, p.Key(), rule)
		i, ok := index[id]
		if !ok {
			i = len(out)
			index[id] = i
			out = append(out, Issue{ID: id, Scan: scan, Package: p, Rule: rule, Priority: f.Priority, Summary: report.Printable(f.Summary, maxText), Claimed: f.Claimed,
				State: f.Baseline, Suppressed: says(f.Suppressed)})
		}
		out[i].add(f)
	}
	return out
}

// add takes a finding in.
func (i *Issue) add(f finding.Finding) {
	i.Count += max(f.Count, 1)
	i.Claimed = i.Claimed && f.Claimed
	if f.Suppressed.Owner == "" && f.Baseline == finding.New {
		i.State = finding.New
	}
	i.Previous = cmp.Or(i.Previous, report.Printable(f.Previous, maxName))
	i.Behaviours = union(i.Behaviours, f.Behaviours)
	i.Techniques = union(i.Techniques, f.Techniques)
	if f.Script != "" {
		i.Scripts = union(i.Scripts, []string{f.Script})
	}
	if len(i.Findings) < finding.MaxFindings {
		i.Findings = append(i.Findings, report.Printable(f.ID, maxName))
	}
	for _, e := range f.Evidence {
		if len(i.Evidence) == maxEvidence {
			return
		}
		i.Evidence = append(i.Evidence, evidenceOf(e))
	}
}

func vouched(f finding.Finding) int {
	if f.Suppressed.Owner != "" {
		return 1
	}
	return 0
}

func says(s finding.Suppressed) string {
	if s.Owner == "" {
		return ""
	}
	return report.Printable(s.Says(), maxText)
}

// gone lists issues of the baseline of which nothing is left.
func gone(scan int, s Scan, list []finding.Gone, left []Issue) []Issue {
	there := map[string]bool{}
	for _, i := range left {
		there[i.ID] = true
	}
	var old []finding.Finding
	for _, g := range list {
		old = append(old, finding.Finding{ID: g.ID, Rule: g.Rule, Priority: g.Priority, Package: g.Package, Phase: g.Phase, Script: g.Script, Summary: g.Summary})
	}
	return slices.DeleteFunc(issues(scan, s, old), func(i Issue) bool { return there[i.ID] })
}

// union adds what is new of a list, as printable text.
func union(list, more []string) []string {
	for _, s := range printables(more, maxTags) {
		if s != "" && len(list) < maxTags && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

func evidenceOf(e finding.Evidence) Evidence {
	chain := e.ProcessChain
	if left := len(chain) - maxChain; left > 0 {
		chain = slices.Concat(chain[:maxChain/2], []string{fmt.Sprintf("... %d more ...", left)}, chain[len(chain)-maxChain/2:])
	}
	out := Evidence{
		Command: report.Printable(e.CommandLine, maxText), File: report.Printable(e.File, maxText), Address: report.Printable(e.Address, maxName),
		Said: report.Printable(e.Network.String(), maxText), Syscall: report.Printable(e.Syscall, maxName), Output: report.Printable(e.Output, maxText),
	}
	if !e.Time.IsZero() {
		out.Time = e.Time.UTC()
	}
	for _, c := range chain {
		out.Chain = append(out.Chain, report.Printable(c, maxName))
	}
	return out
}

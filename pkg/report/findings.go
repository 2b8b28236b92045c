package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// group is the findings of one package.
type group struct {
	name, path string
	findings   []finding.Finding
}

// groups puts findings together by package: new ones first, then known, then
// suppressed ones, of each the worst first.
func groups(list []finding.Finding) []group {
	index := map[string]int{}
	var out []group
	for _, f := range list {
		key := name(f.Package)
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, group{name: key, path: f.Package.Path})
		}
		out[i].findings = append(out[i].findings, f)
	}
	for _, g := range out {
		slices.SortStableFunc(g.findings, func(a, b finding.Finding) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID))
		})
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(rank(a.findings[0]), rank(b.findings[0])), cmp.Compare(a.findings[0].Priority, b.findings[0].Priority), cmp.Compare(a.name, b.name))
	})
	return out
}

// findings shows what packages did, by package.
func (p *printer) findings(r finding.Result) {
	if len(r.Findings) == 0 {
		return
	}
	p.section("Findings")
	list := groups(r.Findings)
	for i, g := range list {
		if i == maxPackages && !p.verbose {
			p.line(2, "and %s more with findings (shown by --verbose)", count(int64(len(list)-i), "package"))
			break
		}
		if i > 0 {
			_ = p.out.WriteByte('\n')
		}
		p.line(2, "%s  %s", p.paint(bold, escape(g.name)), escape(g.path))
		for j, f := range g.findings {
			if j == maxPer && !p.verbose {
				p.line(4, "and %s more (shown by --verbose)", count(int64(len(g.findings)-j), "finding"))
				break
			}
			p.finding(f)
		}
	}
	if lost := r.Counts.Findings - int64(len(r.Findings)); lost > 0 {
		p.line(2, "%s more were counted but not kept", count(lost, "finding"))
	}
}

// finding shows one finding with its evidence.
func (p *printer) finding(f finding.Finding) {
	title := fmt.Sprintf("%s  %s", p.paint(priorityColor(f.Priority), f.Priority.String()), escape(f.Rule))
	if where := strings.TrimSpace(f.Phase + " " + f.Script); where != "" {
		title += "  (" + escape(where) + ")"
	}
	if f.Count > 1 {
		title += fmt.Sprintf("  %s times", number(f.Count))
	}
	if f.Baseline != "" && f.Suppressed.Owner == "" {
		title += "  " + escape(string(f.Baseline))
	}
	p.line(4, "%s", title)
	p.vouched(f)
	for i, l := range wrap(escape(f.Summary), p.width-15) {
		if i == 0 {
			p.detail("why", l)
		} else {
			p.detail("", l)
		}
	}
	p.detail("kind", escape(strings.Join(append(slices.Clone(f.Behaviours), f.Techniques...), ", ")))
	for i, e := range f.Evidence {
		if i == 1 && !p.verbose {
			break
		}
		p.evidence(e)
	}
	if more := f.Count - int64(len(f.Evidence)); p.verbose && more > 0 {
		p.detail("", count(more, "occurrence")+" more")
	}
}

// evidence shows one occurrence.
func (p *printer) evidence(e finding.Evidence) {
	p.detail("file", escape(e.File))
	p.detail("address", escape(e.Address))
	p.network(e.Network)
	p.detail("command", escape(e.CommandLine))
	p.tree(e.ProcessChain)
	if !e.Time.IsZero() {
		p.detail("time", e.Time.UTC().Format("2006-01-02 15:04:05.000 MST"))
	}
	if p.verbose {
		p.detail("syscall", escape(e.Syscall))
		p.detail("output", escape(e.Output))
		p.detail("alert", escape(e.AlertID))
	}
}

// maxChain bounds the ancestors shown; the middle of a longer chain is left
// out.
const maxChain = 12

// tree draws a process chain, the acting process last.
func (p *printer) tree(chain []string) {
	if left := len(chain) - maxChain; left > 0 && !p.verbose {
		chain = slices.Concat(chain[:maxChain/2], []string{fmt.Sprintf("... %d more ...", left)}, chain[len(chain)-maxChain/2:])
	}
	for i, c := range chain {
		label, branch := "", ""
		if i == 0 {
			label = "process"
		} else {
			branch = strings.Repeat("   ", min(i, maxChain)-1) + "└─ "
		}
		p.detail(label, branch+escape(c))
	}
}

// detail writes a named value of a finding.
func (p *printer) detail(label, value string) {
	if value != "" {
		p.line(6, "%-9s%s", label, value)
	}
}

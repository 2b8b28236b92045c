package markdown

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Marker begins every discussion of ours. It is not shown.
const Marker = "<!-- falconer:discussion:v1 -->"

// Bounds on one discussion.
const (
	maxBody     = 120_000 // bytes; GitLab takes 1,000,000 characters
	maxFindings = 25      // shown of one section
	maxLines    = 8       // of a list of reasons
	maxChain    = 12      // processes
)

// Section is what is known of one project root.
type Section struct {
	Result   finding.Result
	Rejected string // why it could not be scanned; Result then only names it
	Target   string // branch that it is compared with, as Result.Baseline says
}

// Verdict is the section's verdict; a rejection is inconclusive.
func (s Section) Verdict() finding.Verdict {
	if s.Rejected != "" {
		return finding.Inconclusive
	}
	return s.Result.Verdict
}

// Worst is the most severe verdict of the sections.
func Worst(list []Section) (v finding.Verdict) {
	for _, s := range list {
		v = finding.Worst(v, s.Verdict())
	}
	return v
}

// Discussion writes the text of a merge request's discussion: the verdict, then
// the sections, worst first. link is the address that results are served below,
// "" for none.
func Discussion(list []Section, link string) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Section) int {
		return cmp.Or(cmp.Compare(rank[a.Verdict()], rank[b.Verdict()]), cmp.Compare(a.Result.Root, b.Result.Root), cmp.Compare(a.Result.Manager, b.Result.Manager))
	})
	w := &writer{}
	w.line("%s", Marker)
	v := Worst(list)
	w.line("### Falconer: %s", word(v))
	w.line("")
	if v == finding.Clean && slices.ContainsFunc(list, func(s Section) bool { return s.Result.Unweighed() }) {
		w.line("Nothing was left unchecked, and nothing new weighs: what is listed is known on the target branch, or somebody vouches for it.")
	} else {
		w.line("%s", meaning[v])
	}
	for i, s := range list {
		if w.Len() > maxBody/2 {
			w.line("\n%d more projects have a result; their commit statuses say which.", len(list)-i)
			break
		}
		w.section(s, link)
	}
	return w.String()
}

var rank = map[finding.Verdict]int{finding.Malicious: 0, finding.Inconclusive: 1, finding.Suspicious: 2, finding.Clean: 3}

var meaning = map[finding.Verdict]string{
	finding.Malicious:    "**Do not merge, and do not install this lockfile.** Where it was installed already, treat every credential that machine could reach as stolen.",
	finding.Inconclusive: "**Treat this as not scanned.** What could not be checked may hide anything; it is listed below.",
	finding.Suspicious:   "Look at what the packages below did, and whether their documentation explains it; if not, treat them as malicious.",
	finding.Clean:        "Installing did nothing that a rule objects to, and nothing was left unchecked.",
}

// word is the verdict as text of ours: an unknown one must not be repeated.
func word(v finding.Verdict) string {
	if _, ok := meaning[v]; ok {
		return string(v)
	}
	return string(finding.Inconclusive)
}

// writer writes lines.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

// section writes what is known of one root.
func (w *writer) section(s Section, link string) {
	r := s.Result
	w.line("\n#### Project %s (%s): %s\n", Code(r.Root), Code(r.Manager), word(s.Verdict()))
	if s.Rejected != "" {
		w.line("Commit %s was not scanned: %s", Code(short(r.Commit)), Code(s.Rejected))
		return
	}
	groups := split(s)
	count := fmt.Sprintf("%d findings", len(r.Findings))
	switch {
	case len(r.Findings) == 0:
		count = "no findings"
	case r.Baseline.ScanID == "":
		count += fmt.Sprintf("; there is no scan of %s to compare with", Code(s.Target))
	default:
		count += fmt.Sprintf(", %d of them new compared with %s", fresh(r), Code(s.Target))
	}
	w.line("Commit %s: %s. %d packages are pinned.", Code(short(r.Commit)), count, r.Packages)
	if link != "" {
		w.line("[The whole result](%s/%s).", link, r.ScanID) // both are ours: an address of the configuration and a UUID
	}
	w.list("Not checked", r.Incomplete)
	shown := 0
	for _, group := range groups {
		if len(group.findings) == 0 {
			continue
		}
		if group.title != "" {
			w.line("\n**%s**", group.title)
		}
		for _, f := range group.findings {
			if shown++; shown > maxFindings || w.Len() > maxBody {
				w.line("\n%d more findings are in the result.", len(r.Findings)-shown+1)
				return
			}
			w.finding(f)
		}
	}
	if lost := r.Counts.Findings - int64(len(r.Findings)); lost > 0 {
		w.line("\n%d more findings were counted but not kept.", lost)
	}
	w.gone(r.Gone)
	w.list("Baseline and suppressions", r.Notes)
}

// gone lists what the target branch has and the merge request removes.
func (w *writer) gone(list []finding.Gone) {
	var lines []string
	for _, g := range list {
		lines = append(lines, strings.TrimSpace(g.Priority.String()+": "+g.Rule+" by "+cmp.Or(g.Package.PURL, "no package that could be named")+" "+g.Script))
	}
	w.list("Gone", lines)
}

// fresh counts what is new.
func fresh(r finding.Result) (n int) {
	for _, f := range r.Findings {
		if f.Baseline == finding.New {
			n++
		}
	}
	return n
}

// group is a part of the findings.
type group struct {
	title    string
	findings []finding.Finding
}

// split parts findings into new, known and suppressed ones, worst first. With
// nothing to compare with, those that nobody vouched for are one part.
func split(s Section) []group {
	list := slices.Clone(s.Result.Findings)
	slices.SortStableFunc(list, func(a, b finding.Finding) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Package.PURL, b.Package.PURL), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID))
	})
	out := []group{{title: "New"}, {title: "Known on the target branch"}, {title: "Suppressed"}}
	if s.Result.Baseline.ScanID == "" {
		out[0].title = ""
	}
	for _, f := range list {
		at := 0
		switch {
		case f.Suppressed.Owner != "":
			at = 2
		case f.Baseline == finding.Known:
			at = 1
		}
		out[at].findings = append(out[at].findings, f)
	}
	return out
}

// finding writes one finding, collapsed.
func (w *writer) finding(f finding.Finding) {
	who := f.Package.PURL
	if who == "" {
		who = f.Package.Name
	}
	title := f.Priority.String() + ": " + Code(f.Rule) + " by "
	if who == "" {
		title += "no package that could be named"
	} else {
		title += Code(who)
	}
	if f.Script != "" {
		title += " in " + Code(f.Script)
	}
	if f.Count > 1 {
		title += fmt.Sprintf(", %d times", f.Count)
	}
	w.line("\n<details><summary>%s</summary>\n", title)
	if f.Suppressed.Owner != "" {
		w.field("Who vouches for it", f.Suppressed.Says())
	}
	w.field("The version before did the same", f.Previous)
	w.field("Why it matters", f.Summary)
	w.field("Kind", strings.Join(append(slices.Clone(f.Behaviours), f.Techniques...), ", "))
	if f.Claimed {
		w.line("- Package and script are what the process's environment names: a hint, no proof.")
	}
	if len(f.Evidence) > 0 {
		e := f.Evidence[0]
		w.field("File", e.File)
		w.field("Address", e.Address)
		w.field("Command", e.CommandLine)
		if chain := e.ProcessChain; len(chain) > 0 {
			if left := len(chain) - maxChain; left > 0 {
				chain = slices.Concat(chain[:maxChain/2], []string{fmt.Sprintf("... %d more ...", left)}, chain[len(chain)-maxChain/2:])
			}
			w.line("\nProcesses, the one that acted last:\n\n%s", Pre(chain))
		}
	}
	w.line("\n</details>")
}

// field writes a named value, none for an empty one.
func (w *writer) field(name, value string) {
	if value != "" {
		w.line("- %s: %s", name, Code(value))
	}
}

// list writes a titled list of texts.
func (w *writer) list(title string, entries []string) {
	if len(entries) == 0 {
		return
	}
	w.line("\n**%s**\n", title)
	for i, e := range entries {
		if i == maxLines {
			w.line("- and %d more", len(entries)-i)
			return
		}
		w.line("- %s", Code(e))
	}
}

// short is a commit as people write it.
func short(commit string) string { return commit[:min(len(commit), 12)] }

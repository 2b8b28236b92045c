package corpus

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Tally counts what scans of the corpus found.
type Tally struct {
	rows     []row
	times    []time.Duration
	rules    string
	findings int // of acts
	right    int // that name the package which acted
	nobody   int // that name none
	benign   []finding.ScriptPackage
	above    []finding.Finding // above Notice, of benign packages
	failed   []string          // scans that say nothing
}

type row struct {
	act    Act
	acted  int
	missed []string // variants
}

// Acted takes in the result of a case of an act.
func (t *Tally) Acted(a Act, c Case, r finding.Result, took time.Duration) {
	i := slices.IndexFunc(t.rows, func(row row) bool { return row.act.Name == a.Name })
	if i < 0 {
		i, t.rows = len(t.rows), append(t.rows, row{act: a})
	}
	for _, want := range c.Expect.Findings {
		t.rows[i].acted++
		if !slices.ContainsFunc(r.Findings, want.is) {
			t.rows[i].missed = append(t.rows[i].missed, want.Package)
		}
	}
	t.times, t.rules = append(t.times, took), r.Rules
	for _, f := range r.Findings {
		t.findings++
		switch who := actor(f); {
		case f.Package.PURL == "":
			t.nobody++
		case f.Package.Name == who:
			t.right++
		}
	}
}

var named = regexp.MustCompile(`falconer-acts-[a-z0-9-]+`)

// actor is the package whose script did what was found. Each script is started
// with its package's name as an argument, which the attribution does not look
// at.
func actor(f finding.Finding) string {
	for _, e := range f.Evidence {
		for _, line := range e.ProcessChain {
			if name := named.FindString(line); name != "" {
				return name
			}
		}
	}
	return ""
}

// Benign takes in the result of scanning real packages.
func (t *Tally) Benign(r finding.Result, took time.Duration) {
	t.times, t.rules = append(t.times, took), r.Rules
	t.benign = append(t.benign, r.InstallScripts...)
	for _, f := range r.Findings {
		if f.Priority <= finding.Warning {
			t.above = append(t.above, f)
		}
	}
}

// Failed notes a scan without a result.
func (t *Tally) Failed(name string, err error) {
	t.failed = append(t.failed, fmt.Sprintf("%s: %v", name, err))
}

// Perfect reports whether every variant was found, no benign package is above
// Notice, at least 95 of 100 findings name the right package, and every scan
// had a result.
func (t *Tally) Perfect() bool {
	missed := slices.ContainsFunc(t.rows, func(r row) bool { return len(r.missed) > 0 })
	return !missed && len(t.above) == 0 && len(t.failed) == 0 && t.right*100 >= t.findings*95
}

// Write writes the tally as a page of the documentation.
func (t *Tally) Write(w io.Writer, day time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# The corpus, measured\n\nWritten by `make corpus` on %s with rules `%s`.\n\n## Recall\n\n"+
		"A variant counts as found if a finding of Warning or above has one of the act's behaviours, the package's name and the script's.\n\n"+
		"| behaviour | acted out | variants | found | missed |\n|---|---|---|---|---|\n", day.Format(time.DateOnly), t.rules)
	acted, missed := 0, 0
	for _, r := range t.rows {
		acted, missed = acted+r.acted, missed+len(r.missed)
		fmt.Fprintf(&b, "| %s %s | %s | %d | %s | %s |\n", r.act.Number, r.act.Name, r.act.About, r.acted, percent(r.acted-len(r.missed), r.acted), strings.Join(r.missed, ", "))
	}
	fmt.Fprintf(&b, "| all | | %d | %s | |\n\n", acted, percent(acted-missed, acted))
	fmt.Fprintf(&b, "## Attribution\n\nOf %d findings (Notice included), %s name the package whose script acted; %d are unattributed, %d name another.\n\n",
		t.findings, percent(t.right, t.findings), t.nobody, t.findings-t.right-t.nobody)
	fmt.Fprintf(&b, "## Benign packages\n\n%d real packages with install scripts; %d findings above Notice.\n", len(t.benign), len(t.above))
	for _, f := range t.above {
		fmt.Fprintf(&b, "- %s (%s)\n", f.Headline(), f.Priority)
	}
	var names []string
	for _, p := range t.benign {
		names = append(names, p.Name+"@"+p.Version)
	}
	slices.Sort(names)
	fmt.Fprintf(&b, "\n%s\n", strings.Join(slices.Compact(names), ", "))
	if len(t.times) > 0 {
		slices.Sort(t.times)
		fmt.Fprintf(&b, "\n## Time\n\n%d scans, median %.1f s, longest %.1f s.\n", len(t.times), t.times[len(t.times)/2].Seconds(), t.times[len(t.times)-1].Seconds())
	}
	for _, f := range t.failed {
		fmt.Fprintf(&b, "\nNo result: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func percent(n, of int) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(of))
}

package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Options adjusts the text.
type Options struct {
	Color   bool // ANSI colours; see Color
	Width   int  // columns; 0 means DefaultWidth
	Verbose bool // all occurrences, all fetches, the installer's output; nothing is cut
}

// DefaultWidth is the width of a terminal that did not say.
const DefaultWidth = 100

// minWidth is the least width that the layout works in.
const minWidth = 40

// maxLine bounds a line even in verbose text, in columns.
const maxLine = 4000

// What text that is not verbose shows at most.
const (
	maxPackages = 20
	maxPer      = 10 // findings a package
	maxList     = 15 // entries of other lists
)

// Color says whether to colour: only a terminal, and not against the user's
// NO_COLOR (https://no-color.org) or TERM=dumb.
func Color(env func(string) string, terminal bool) bool {
	return terminal && env("NO_COLOR") == "" && env("TERM") != "dumb"
}

// Text writes a result for a human. The error is w's.
func Text(w io.Writer, r finding.Result, o Options) error {
	p := newPrinter(w, o)
	p.header(r)
	p.reasons(r)
	p.findings(r)
	p.gone(r)
	p.list("Baseline and suppressions", r.Notes)
	if r.Verdict != finding.Inconclusive { // there it is the reason, and said
		p.list("Not checked", r.Incomplete)
	}
	p.list("Not seen by this installation's sensor", r.Unwatched)
	p.scripts(r.InstallScripts)
	p.imports(r.Sandbox.Imports)
	p.fetches(r.Fetches)
	p.list("Withheld from the sandbox", r.Excluded)
	p.counts(r)
	p.log(r.Log)
	p.next(r)
	return p.out.Flush()
}

// Rejection writes, for a human, that something could not be scanned and why.
func Rejection(w io.Writer, project, reason string, o Options) error {
	p := newPrinter(w, o)
	p.line(0, "%s  %s", p.paint(yellow, "NOT SCANNED"), escape(project))
	for _, l := range wrap(escape(reason), p.width-2) {
		p.line(2, "%s", l)
	}
	return p.out.Flush()
}

// header says what was found about what.
func (p *printer) header(r finding.Result) {
	what := escape(r.Project)
	if r.Root != "." && r.Root != "" {
		what += " " + escape(r.Root)
	}
	p.line(0, "%s  %s", p.paint(verdictColor(r.Verdict)+bold, strings.ToUpper(escape(string(r.Verdict)))), what)
	took := r.Finished.Sub(r.Started).Round(100 * time.Millisecond)
	what = fmt.Sprintf("%s, %s pinned by %s", escape(r.Manager), count(int64(r.Packages), "package"), escape(r.Lockfile))
	if took > 0 {
		what += fmt.Sprintf(", %s", took)
	}
	p.field("install", what)
	p.field("sandbox", escape(strings.TrimSpace(r.Sandbox.Kind+": "+r.Sandbox.Isolation)))
	if r.Sandbox.Reason != "completed" || r.Sandbox.ExitCode != 0 {
		p.field("ended", escape(strings.TrimSpace(fmt.Sprintf("%s, exit code %d %s", r.Sandbox.Reason, r.Sandbox.ExitCode, r.Sandbox.Detail))))
	}
	if r.Commit != "" || r.Ref != "" {
		p.field("commit", escape(strings.TrimSpace(r.Commit+" "+r.Ref)))
	}
	p.field("baseline", compared(r))
	id := escape(string(r.ScanID))
	if r.Revision > 1 {
		id += fmt.Sprintf(" (revision %d: alerts came in late)", r.Revision)
	}
	p.field("scan", id)
}

// reasons says why the verdict is what it is.
func (p *printer) reasons(r finding.Result) {
	why := r.Reasons
	if r.Verdict != finding.Inconclusive { // what was not checked follows in a section of its own
		why = slices.DeleteFunc(slices.Clone(why), func(s string) bool { return slices.Contains(r.Incomplete, s) })
	}
	p.list("Why", why)
}

// counts accounts for what the sensor and the correlator saw.
func (p *printer) counts(r finding.Result) {
	c := r.Counts
	p.section("Counts")
	p.line(2, "alerts   %s joined, %s repeated, %s over the limit", number(c.Alerts), number(c.Duplicates), number(c.Capped))
	p.line(2, "sensor   %s records, %s dropped", number(c.SensorEvents), number(c.SensorDropped))
	p.line(2, "output   %s", amount(c.OutputBytes))
	p.line(2, "rules    %s, recipe %s", escape(r.Rules), escape(r.Recipe))
}

// scripts lists the packages that have install scripts.
func (p *printer) scripts(list []finding.ScriptPackage) {
	var lines []string
	for _, s := range list {
		line := escape(name(s.Package))
		if len(s.Scripts) > 0 {
			line += "  " + escape(strings.Join(s.Scripts, ", "))
		}
		lines = append(lines, line)
	}
	p.escaped(fmt.Sprintf("Install scripts (%s)", count(int64(len(list)), "package")), lines)
}

// fetches sums up what came from the registry, and names what was refused.
func (p *printer) fetches(list []finding.Fetch) {
	if len(list) == 0 {
		return
	}
	var size int64
	var cached, served int64
	var refused, all []string
	for _, f := range list {
		what := escape(f.Name)
		if f.Version != "" {
			what += "@" + escape(f.Version)
		}
		if f.Refused != "" {
			refused = append(refused, "refused "+what+": "+escape(f.Refused))
			continue
		}
		served, size = served+1, size+f.Size
		if f.Cached {
			cached++
		}
		all = append(all, what+"  "+amount(f.Size)+"  "+escape(f.Integrity))
	}
	p.section("Registry")
	p.line(2, "%s, %s, %s from the cache; %s refused", count(served, "artifact"), amount(size), number(cached), number(int64(len(refused))))
	p.lines(refused)
	if p.verbose {
		p.lines(all)
	}
}

// log shows the end of the installer's output, in verbose text only.
func (p *printer) log(tail string) {
	if !p.verbose || strings.TrimSpace(tail) == "" {
		return
	}
	p.section("End of the installer's output")
	for line := range strings.Lines(tail) {
		p.line(2, "%s", escape(strings.TrimRight(line, "\r\n")))
	}
}

// newPrinter prepares writing to w.
func newPrinter(w io.Writer, o Options) *printer {
	p := &printer{out: bufio.NewWriter(w), width: o.Width, color: o.Color, verbose: o.Verbose}
	if p.width <= 0 {
		p.width = DefaultWidth
	}
	p.width = max(p.width, minWidth)
	p.cut = p.width
	if o.Verbose {
		p.cut = maxLine
	}
	return p
}

package report

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// ANSI colours.
const (
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	magenta = "\x1b[35m"
	bold    = "\x1b[1m"
	faint   = "\x1b[2m"
	reset   = "\x1b[0m"
)

// printer writes lines. Errors of the writer are kept by out until Flush.
type printer struct {
	out     *bufio.Writer
	width   int // columns that text is wrapped to
	cut     int // columns that lines are cut to
	color   bool
	verbose bool
}

// line writes one line, indented and cut. Arguments are escaped already.
func (p *printer) line(indent int, format string, args ...any) {
	s := fit(strings.TrimRight(fmt.Sprintf(format, args...), " "), p.cut-indent)
	_, _ = p.out.WriteString(strings.Repeat(" ", indent) + s + "\n")
}

// section starts a section.
func (p *printer) section(title string) {
	_ = p.out.WriteByte('\n')
	p.line(0, "%s", p.paint(bold, title))
}

// field writes a named value; value is escaped.
func (p *printer) field(name, value string) {
	if value != "" {
		p.line(2, "%-9s%s", name, value)
	}
}

// list writes a section of entries that are not escaped yet; none, no section.
func (p *printer) list(title string, entries []string) {
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = escape(e)
	}
	p.escaped(title, lines)
}

// escaped writes a section of entries that are escaped.
func (p *printer) escaped(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.section(title)
	p.lines(lines)
}

// lines writes entries, wrapped, and says how many it left out.
func (p *printer) lines(lines []string) {
	for i, l := range lines {
		if i == maxList && !p.verbose {
			p.line(2, "and %d more (shown by --verbose)", len(lines)-i)
			return
		}
		for j, part := range wrap(l, p.width-4) {
			if j == 0 {
				p.line(2, "- %s", part)
			} else {
				p.line(4, "%s", part)
			}
		}
	}
}

// paint colours text that is escaped.
func (p *printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return code + s + reset
}

func verdictColor(v finding.Verdict) string {
	switch v {
	case finding.Malicious:
		return red
	case finding.Suspicious:
		return yellow
	case finding.Clean:
		return green
	}
	return magenta
}

func priorityColor(p finding.Priority) string {
	switch {
	case p <= finding.Critical:
		return red
	case p <= finding.Warning:
		return yellow
	}
	return faint
}

// count writes "1 package", "2 packages".
func count(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return number(n) + " " + unit + "s"
}

// number writes n with thousands apart.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// amount writes a number of bytes for a human.
func amount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return count(n, "byte")
}

// name is what a package is called in the text.
func name(p finding.Package) string {
	switch {
	case p.PURL != "":
		return p.PURL
	case p.Name != "" && p.Version != "":
		return p.Name + "@" + p.Version
	case p.Name != "":
		return p.Name
	}
	return "no package could be named"
}

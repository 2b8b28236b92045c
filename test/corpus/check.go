package corpus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Check compares a scan's result with what the case expects and returns the
// differences, none if the result is right.
func (c Case) Check(r finding.Result) []string {
	var out []string
	if r.Verdict != c.Expect.Verdict && !slices.Contains(c.Expect.Accept, r.Verdict) {
		out = append(out, fmt.Sprintf("verdict %s, want %s (%q)", r.Verdict, c.Expect.Verdict, r.Reasons))
	}
	for _, want := range c.Expect.Findings {
		if !slices.ContainsFunc(r.Findings, want.is) {
			out = append(out, fmt.Sprintf("no finding of %s by %s in %s %s", want.Behaviour, want.Package, want.Script, want.Said))
		}
	}
	for _, got := range r.Findings {
		if got.Priority <= finding.Warning && !slices.ContainsFunc(c.Expect.Findings, func(f Finding) bool { return f.Package == got.Package.PURL }) {
			out = append(out, fmt.Sprintf("unexpected finding: %s", got.Headline()))
		}
	}
	return out
}

// is reports whether f is a judged finding of that kind.
func (w Finding) is(f finding.Finding) bool {
	return f.Priority <= finding.Warning && f.Package.PURL == w.Package && f.Script == w.Script &&
		slices.ContainsFunc(f.Behaviours, func(b string) bool { return b == w.Behaviour || slices.Contains(w.Or, b) }) && w.heard(f)
}

// heard reports whether f has what had to be said to another machine.
func (w Finding) heard(f finding.Finding) bool {
	return w.Said == "" || slices.ContainsFunc(f.Evidence, func(e finding.Evidence) bool { return strings.Contains(e.Network.String(), w.Said) })
}

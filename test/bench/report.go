package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// JSON writes the machine, then each result, one object a line; "kind" tells
// them apart.
func (r *Run) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	if err := enc.Encode(struct {
		Kind string `json:"kind"`
		Machine
		Rounds int  `json:"rounds"`
		Quick  bool `json:"quick,omitempty"`
	}{"machine", r.Machine, r.Rounds, r.Quick}); err != nil {
		return err
	}
	for _, x := range r.Results {
		if err := enc.Encode(struct {
			Kind string `json:"kind"`
			Result
		}{"result", x}); err != nil {
			return err
		}
	}
	return nil
}

// Text writes tables for a terminal.
func (r *Run) Text(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n", r.Machine, r.method())
	r.eachPart(func(title string, results []Result) {
		fmt.Fprintf(w, "\n%s\n", title)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  \tmedian\tbest\tcompared (median, best)\taim\t")
		for _, x := range results {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t\n", x.Name, x.figure(x.Median), x.figure(x.Best), x.Against, x.Aim)
		}
		t.Flush()
		for _, note := range notes(results) {
			fmt.Fprintf(w, "  %s\n", note)
		}
	})
	return nil
}

// Markdown writes the same for a document.
func (r *Run) Markdown(w io.Writer) error {
	fmt.Fprintf(w, "%s.\n\n%s\n", r.Machine, r.method())
	r.eachPart(func(title string, results []Result) {
		fmt.Fprintf(w, "\n### %s\n\n| | median | best | compared (median, best) | aim |\n|---|---|---|---|---|\n", title)
		for _, x := range results {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", x.Name, x.figure(x.Median), x.figure(x.Best), x.Against, x.Aim)
		}
		for i, note := range notes(results) {
			if i == 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "- %s\n", note)
		}
	})
	return nil
}

// method says how the figures came about.
func (r *Run) method() string {
	s := fmt.Sprintf("Median and best of %d rounds, in turns.", r.Rounds)
	if r.Quick {
		s += " A QUICK RUN: IT SHOWS THAT EVERYTHING RUNS, THE FIGURES MEAN NOTHING."
	}
	return s
}

func (r *Run) eachPart(f func(title string, results []Result)) {
	for _, p := range parts {
		var have []Result
		for _, x := range r.Results {
			if x.Part == p.name && x.Unit != "allocs/op" { // those are for the JSON
				have = append(have, x)
			}
		}
		if len(have) > 0 {
			f(p.title, have)
		}
	}
}

// notes are the results' notes; what several share stands once.
func notes(results []Result) []string {
	var order []string
	of := map[string][]string{}
	for _, x := range results {
		if x.Note == "" {
			continue
		}
		if of[x.Note] == nil {
			order = append(order, x.Note)
		}
		of[x.Note] = append(of[x.Note], x.Name)
	}
	for i, note := range order {
		order[i] = strings.Join(of[note], ", ") + ": " + note
	}
	return order
}

// String is "1.12×, 1.10× of npm ci", or nothing.
func (r *Ratio) String() string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%.2f×, %.2f× of %s", r.Median, r.Best, r.To)
}

// figure is a value with its unit, in a size that people read easily.
func (r Result) figure(v float64) string {
	if len(r.Samples) == 0 {
		return "-"
	}
	unit := r.Unit
	for _, bigger := range []struct{ from, to string }{{"ns/op", "µs/op"}, {"µs/op", "ms/op"}} {
		if unit == bigger.from && v >= 10_000 {
			v, unit = v/1000, bigger.to
		}
	}
	return number(v) + " " + unit
}

// number keeps three digits, and groups thousands.
func number(v float64) string {
	if v != 0 && math.Abs(v) < 100 {
		return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 64)
	}
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Package bench measures what Falconer costs, next to what it would cost
// without it, in one run on one machine.
//
// Guarantees: things that are compared are measured in turns, round by round,
// not one after the other, and each round begins with another of them; every
// single sample is kept in the JSON; the machine and how busy it was stand
// beside the figures; an install that failed or was not fully watched is an
// error, never a figure. Nothing here asserts a time: that is for whoever
// reads the figures and knows what else the machine was doing.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Config is what to measure and with what.
type Config struct {
	Root     string // of the repository
	Falconer string // the program under test, absolute
	Rounds   int    // how often each thing is measured
	Quick    bool   // only see that everything works: the figures mean nothing
	Parts    []string
	Progress io.Writer // what is going on, for a human
}

// Parts in the order in which they run.
var parts = []struct {
	name, title string
	run         func(context.Context, *Run) error
}{
	{"scan", "Scanning a project, compared with installing it", scanCost},
	{"start", "Starting a sandbox", sandboxStart},
	{"gate", "From Falco to the correlator: alerts of 1.4 KB over HTTP, durable and deduplicated", goBenchmarks("gate")},
	{"inside", "Broker, rules and sensor", goBenchmarks("inside")},
	{"size", "Programs", programs},
}

// PartNames lists the parts in the order in which they run.
func PartNames() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

// Run is one run of the benchmarks.
type Run struct {
	Config
	Machine Machine
	Results []Result

	scratch string // removed at the end
	began   time.Time
	part    string
}

// Measure runs the parts. A part that fails does not keep the others from
// running: what was measured is returned beside the error.
func Measure(ctx context.Context, c Config) (*Run, error) {
	for _, p := range c.Parts {
		if !slices.Contains(PartNames(), p) {
			return nil, fmt.Errorf("there is no part %q; there are %q", p, PartNames())
		}
	}
	scratch, err := os.MkdirTemp("", "falconer-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	r := &Run{Config: c, scratch: scratch, began: time.Now()}
	r.Machine = describe(ctx, c.Root, scratch)
	var errs []error
	for _, p := range parts {
		if ctx.Err() != nil || len(c.Parts) > 0 && !slices.Contains(c.Parts, p.name) {
			continue
		}
		r.part = p.name
		if err := p.run(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	r.Machine.LoadAfter = loadAverage()
	compare(r.Results)
	return r, errors.Join(append(errs, ctx.Err())...)
}

// say tells a human what is being done.
func (r *Run) say(format string, args ...any) {
	fmt.Fprintf(r.Progress, "%6.1fs %s: %s\n", time.Since(r.began).Seconds(), r.part, fmt.Sprintf(format, args...))
}

// sample adds one measured value to the result of that name and unit.
func (r *Run) sample(name, unit string, value float64) {
	r.result(name, unit).add(value)
}

// note explains a result, or says why there is none.
func (r *Run) note(name, unit, note string) { r.result(name, unit).Note = note }

// result finds or begins a result of the running part.
func (r *Run) result(name, unit string) *Result {
	for i := range r.Results {
		if have := &r.Results[i]; have.Part == r.part && have.Name == name && have.Unit == unit {
			return have
		}
	}
	r.Results = append(r.Results, Result{Part: r.part, Name: name, Unit: unit, Aim: aimOf(name, unit)})
	return &r.Results[len(r.Results)-1]
}

// dir makes a directory for this run.
func (r *Run) dir(elements ...string) (string, error) {
	dir := filepath.Join(append([]string{r.scratch}, elements...)...)
	return dir, os.MkdirAll(dir, 0o755)
}

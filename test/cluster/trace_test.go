//go:build cluster

package cluster

import (
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/telemetry/otlptest"
)

// ways lead through a push's trace, from the webhook to the report. The broker
// may put spans of its own between.
var ways = [][]string{
	{"gitlabhook POST", "planner repo.push", "runner scan.requested", "send scan.started", "correlator scan.started"},
	{"gitlabhook POST", "planner repo.push", "runner scan.requested", "send scan.finished", "reporter scan.finished"},
}

// traced expects one trace that leads from the webhook to the report. Functions
// hand their last spans in when they end.
func (r *rig) traced(id scan.ID) {
	r.Helper()
	var lack string
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		if lack = r.lacks(id); lack == "" {
			return
		}
		if time.Now().After(end) {
			r.Error(lack)
			return
		}
	}
}

// lacks says what is missing of a scan's trace, "" for nothing.
func (r *rig) lacks(id scan.ID) string {
	r.Helper()
	var all []otlptest.Span
	r.call("GET", "/spans", nil, &all)
	i := slices.IndexFunc(all, func(s otlptest.Span) bool {
		return s.Attributes[function.AttrScanID] == string(id) && strings.HasPrefix(s.Name, "runner ")
	})
	if i < 0 {
		return "no span of the runner for scan " + string(id)
	}
	trace := all[i].Trace
	mine := slices.DeleteFunc(all, func(s otlptest.Span) bool { return s.Trace != trace })
	paths := otlptest.Paths(mine)
	for _, way := range ways {
		if !slices.ContainsFunc(paths, func(p string) bool { return leads(p, way) }) {
			return "the trace does not lead " + strings.Join(way, " > ") + ":\n" + strings.Join(paths, "\n")
		}
	}
	return ""
}

// leads reports whether the steps are on a path, in that order.
func leads(path string, steps []string) bool {
	on := strings.Split(path, " > ")
	for _, s := range steps {
		i := slices.Index(on, s)
		if i < 0 {
			return false
		}
		on = on[i+1:]
	}
	return true
}

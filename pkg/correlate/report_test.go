package correlate

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
)

func sensed(attempt int) *event.Started {
	s := *started(attempt)
	s.Sensor = event.SensorGVisor
	return &s
}

func sensorReport(attempt int, edit ...func(*event.SensorReport)) *event.SensorReport {
	r := event.SensorReport{ScanID: id, Attempt: attempt, Container: "c", Node: "n", SensorEvents: 900, AlertsStored: 0, Unwatched: []string{"sends"}, At: at}
	for _, f := range edit {
		f(&r)
	}
	return &r
}

func lost(r *event.SensorReport) {
	r.Lost, r.Incomplete = true, []string{"the sensor was stopped"}
}

// permutations yields every order of inputs.
func permutations(list []Input, yield func([]Input)) {
	var walk func(int)
	walk = func(n int) {
		if n == len(list) {
			yield(slices.Clone(list))
			return
		}
		for i := n; i < len(list); i++ {
			list[n], list[i] = list[i], list[n]
			walk(n + 1)
			list[n], list[i] = list[i], list[n]
		}
	}
	walk(0)
}

func TestReportsAreTheSameInAnyOrder(t *testing.T) {
	later := func(r *event.SensorReport) { r.At = at.Add(time.Second); r.SensorEvents = 1 }
	inputs := []Input{
		{Started: sensed(1)}, {Exited: exited(1, 0)}, {Reported: sensorReport(1)}, {Reported: sensorReport(1, later)},
		{Reported: sensorReport(1, lost, later)}, {Started: sensed(2)}, {Reported: sensorReport(2)},
	}
	var want *State
	permutations(inputs, func(order []Input) {
		s := State{ScanID: id}
		for _, in := range order {
			s, _ = s.Apply(in, at)
			if again, changed := s.Apply(in, at.Add(time.Hour)); changed {
				t.Fatalf("%+v taken in twice changes %+v to %+v", in, s, again)
			}
		}
		if want == nil {
			want = &s
		}
		if !reflect.DeepEqual(s, *want) {
			t.Fatalf("order %+v:\n%s", order, cmp.Diff(*want, s))
		}
	})
	if !want.Ended() || !want.report().Lost || len(want.Reports) != 2 {
		t.Errorf("%+v", want)
	}
}

// TestExitWaitsForTheReport plays what may come before, with and after the end.
func TestExitWaitsForTheReport(t *testing.T) {
	for name, tt := range map[string]struct {
		inputs []Input
		ended  bool
	}{
		"no sensor apart":               {[]Input{{Started: started(1)}, {Exited: exited(1, 0)}}, true},
		"no report":                     {[]Input{{Started: sensed(1)}, {Exited: exited(1, 0)}}, false},
		"exit first":                    {[]Input{{Exited: exited(1, 0)}, {Started: sensed(1)}}, false},
		"a report":                      {[]Input{{Started: sensed(1)}, {Exited: exited(1, 0)}, {Reported: sensorReport(1)}}, true},
		"report first":                  {[]Input{{Reported: sensorReport(1)}, {Started: sensed(1)}, {Exited: exited(1, 0)}}, true},
		"a report only":                 {[]Input{{Reported: sensorReport(1)}}, false},
		"another attempt's report":      {[]Input{{Started: sensed(2)}, {Reported: sensorReport(1)}, {Exited: exited(2, 0)}}, false},
		"an exit without a known start": {[]Input{{Exited: exited(1, 0)}, {Reported: sensorReport(1)}}, false},
	} {
		s := State{ScanID: id}
		for _, in := range tt.inputs {
			s, _ = s.Apply(in, at)
		}
		if s.Ended() != tt.ended {
			t.Errorf("%s: ended is %v, %+v", name, s.Ended(), s)
		}
	}
}

func TestReportThatNeverComes(t *testing.T) {
	g := DefaultGrace
	s, _ := State{ScanID: id}.Apply(Input{Started: sensed(1)}, at)
	s, _ = s.Apply(Input{Exited: exited(1, 0)}, at)
	if due := s.Due(g); !due.Equal(at.Add(30 * time.Second)) {
		t.Errorf("due at %v", due)
	}
	if _, what := s.Expire(g, at.Add(29*time.Second)); what != Wait {
		t.Error("given up too soon")
	}
	s, what := s.Expire(g, at.Add(30*time.Second))
	if what != Finish || !s.Ended() {
		t.Fatalf("not finished: %+v", s)
	}
	r := Conclude(s, NewFold(), Overflow{}, nil, nil)
	if r.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(r.Incomplete, "\n"), "the sensor did not watch this scan to its end") {
		t.Errorf("%s: %q", r.Verdict, r.Incomplete)
	}
	if !s.Repeats(r) || r.Reasons[len(r.Reasons)-1] != "the scan is run once more" {
		t.Errorf("not run again: %q", r.Reasons)
	}
	// A report that comes after all amends the result, and nothing waits again.
	late, changed := s.Apply(Input{Reported: sensorReport(1)}, at.Add(time.Hour))
	if !changed || !late.Ended() {
		t.Fatal("the late report is not taken")
	}
	amended := Conclude(late, NewFold(), Overflow{}, &r, nil)
	if amended.Verdict != finding.Clean || amended.Counts.SensorEvents != 900 || !Changed(r, amended) || late.Repeats(amended) {
		t.Errorf("%+v", amended)
	}
}

func TestReportInTheResult(t *testing.T) {
	end := func(attempt int, r *event.SensorReport, x *event.Exited) State {
		s, _ := State{ScanID: id}.Apply(Input{Started: sensed(attempt)}, at)
		s, _ = s.Apply(Input{Exited: x}, at)
		s, _ = s.Apply(Input{Reported: r}, at)
		return s
	}
	for name, tt := range map[string]struct {
		attempt    int
		edit       func(*event.SensorReport)
		incomplete []string
		repeats    bool
	}{
		"all well":       {1, func(*event.SensorReport) {}, nil, false},
		"lost":           {1, lost, []string{"the sensor was stopped", "the sensor did not watch this scan to its end"}, true},
		"lost again":     {2, lost, []string{"the sensor was stopped", "the sensor did not watch this scan to its end"}, false},
		"dropped":        {1, func(r *event.SensorReport) { r.Dropped = 7 }, []string{"the sensor lost 7 of the sandbox's events"}, false},
		"capped":         {1, func(r *event.SensorReport) { r.AlertsCapped = 3 }, []string{"3 alerts were beyond the sensor's limits: counted, not kept"}, false},
		"missing alerts": {1, func(r *event.SensorReport) { r.AlertsStored = 5 }, []string{"the sensor stored 5 alerts, only 0 of them could be read"}, false},
		"outlived": {1, func(r *event.SensorReport) { r.Outlived = []string{"a", "b", "c", "d"} },
			[]string{"still running after the install, and stopped then: a; b; c"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := end(tt.attempt, sensorReport(tt.attempt, tt.edit), exited(tt.attempt, 0))
			r := Conclude(s, NewFold(), Overflow{}, nil, nil)
			if d := cmp.Diff(append([]string{}, tt.incomplete...), r.Incomplete); d != "" {
				t.Error(d)
			}
			if s.Repeats(r) != tt.repeats || (r.Verdict == finding.Clean) != (tt.incomplete == nil) {
				t.Errorf("repeats %v, verdict %s", s.Repeats(r), r.Verdict)
			}
			if d := cmp.Diff([]string{"sends"}, r.Unwatched); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestReportIsBounded takes in what a broken sensor might send.
func TestReportIsBounded(t *testing.T) {
	s := State{ScanID: id}
	for n := range 50 {
		s, _ = s.Apply(Input{Reported: sensorReport(n, func(r *event.SensorReport) {
			r.Incomplete = slices.Repeat([]string{strings.Repeat("x", 10_000)}, 1000)
			r.Container = strings.Repeat("c", 10_000)
		})}, at)
	}
	if len(s.Reports) != maxReports || s.Reports[0].Attempt != 46 || len(s.Reports[0].Incomplete) != maxIncomplete || len(s.Reports[0].Incomplete[0]) > maxText || len(s.Reports[0].Container) > maxText {
		t.Errorf("%d reports, the first of attempt %d", len(s.Reports), s.Reports[0].Attempt)
	}
	if _, changed := s.Apply(Input{Reported: sensorReport(1)}, at); changed {
		t.Error("a report that is not kept changes the state")
	}
}

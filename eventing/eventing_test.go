package eventing_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// functions are the Services that exist.
var functions = []string{"api", "correlator", "deadletter", "falcogate", "gitlabhook", "jobwatch", "planner", "reporter", "runner"}

func load(t *testing.T) *trigger.Set {
	t.Helper()
	set, err := trigger.Load(eventing.FS)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestEverySubscriberIsAFunction(t *testing.T) {
	for _, tr := range load(t).Triggers {
		for _, d := range []trigger.Destination{tr.Subscriber, tr.Delivery.DeadLetter} {
			if !slices.Contains(functions, d.Name) || d.Namespace != eventing.Namespace || d.URI != "" {
				t.Errorf("trigger %s: %+v is not a function of ours", tr.Name, d)
			}
		}
	}
}

func TestEveryTriggerRepeatsItsDelivery(t *testing.T) {
	for _, tr := range load(t).Triggers {
		d := tr.Delivery
		if d.Retry < 3 || d.Wait(0) == 0 || d.Wait(1) <= d.Wait(0) || d.Timeout == 0 || d.DeadLetter.Name != "deadletter" {
			t.Errorf("trigger %s: delivery %+v lacks a retry, a growing back-off, a timeout or a dead-letter sink of its own", tr.Name, d)
		}
	}
}

func TestEventTypesAreThoseOfTheCode(t *testing.T) {
	var declared []string
	for _, et := range load(t).EventTypes {
		declared = append(declared, et.Type)
		// Kubernetes has no underscores in names.
		if et.Name != strings.ReplaceAll(et.Type, "_", "-") || et.Schema != event.SchemaBase+et.Type+".json" {
			t.Errorf("event type %s: name %s, schema %s", et.Type, et.Name, et.Schema)
		}
	}
	want := event.Types()
	slices.Sort(want)
	slices.Sort(declared)
	if diff := cmp.Diff(want, declared); diff != "" {
		t.Errorf("event types (-code +yaml):\n%s", diff)
	}
}

// hear lists who a topology hands an event to, each once.
func hear(t *testing.T, set *trigger.Set, e ce.Event) (names []string) {
	t.Helper()
	for _, tr := range set.For(trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker}) {
		ok, err := tr.Match(e)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			names = append(names, tr.Subscriber.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestRouting is the event table: type to subscribers.
func TestRouting(t *testing.T) {
	want := map[string][]string{
		event.RepoPush:         {"planner", "runner"}, // the runner is only woken
		event.RepoMergeRequest: {"planner", "runner"}, // the runner is only woken
		event.ScanRequested:    {"api", "reporter", "runner"},
		event.ScanStarted:      {"api", "correlator", "reporter"},
		event.FalcoAlert:       {"correlator"},
		event.SandboxExited:    {"correlator", "reporter", "runner"}, // the reporter is only woken
		event.ScanFinished:     {"api", "reporter"},
		event.ScanAmended:      {"api", "reporter"},
		event.ScanRejected:     {"api", "correlator", "reporter", "runner"},
		event.RuntimeAlert:     nil,
		event.SensorReported:   {"correlator"},
	}
	set := load(t)
	got := map[string][]string{}
	for _, typ := range event.Types() {
		e, err := event.New(typ, event.Source("test"), "s", "1", time.Unix(0, 0), map[string]string{})
		if err != nil {
			t.Fatal(err)
		}
		got[typ] = hear(t, set, e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routing (-want +got):\n%s", diff)
	}
}

// TestREADMEListsEveryEvent holds the README's event table to the types and the
// routing: each type has one row, which names who hears it and nobody else.
func TestREADMEListsEveryEvent(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	heard := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z]+\\.[a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			typ := "dev.falconer." + m[1] + ".v1"
			if _, twice := heard[typ]; twice {
				t.Errorf("%s has two rows", typ)
			}
			heard[typ] = cells[4]
		}
	}
	set := load(t)
	for _, typ := range event.Types() {
		cell, ok := heard[typ]
		delete(heard, typ)
		if !ok {
			t.Errorf("%s has no row", typ)
			continue
		}
		e, err := event.New(typ, event.Source("test"), "s", "1", time.Unix(0, 0), map[string]string{})
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		for _, f := range functions {
			if regexp.MustCompile(`\b` + f + `\b`).MatchString(cell) {
				named = append(named, f)
			}
		}
		if diff := cmp.Diff(hear(t, set, e), named); diff != "" {
			t.Errorf("%s (-Triggers +README):\n%s", typ, diff)
		}
	}
	for typ := range heard {
		t.Errorf("%s has a row, and is no type", typ)
	}
}

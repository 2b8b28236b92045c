package correlator

import (
	"context"
	"errors"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// unwatched makes a rig with a scan that ended, of which the sensor said that it
// did not watch it to its end.
func unwatched(t *testing.T, emit func(r *rig) function.EmitterFunc) (r *rig, last event.SensorReport) {
	t.Helper()
	r = newRig(t, alerts.Config{})
	r.c.d.Emit = emit(r)
	q := scan.Request{ID: scanID(1), Project: "acme/app", Manager: "npm", Root: ".", Source: scan.Source{Object: "o", Digest: "d"}}
	r.must(r.handle(event.ScanStarted, event.Started{Request: q, Attempt: 1, At: origin, Sandbox: "kubernetes", Sensor: event.SensorGVisor}))
	r.must(r.handle(event.SandboxExited, event.Exited{Request: q, Attempt: 1, At: origin.Add(20 * time.Second), Sandbox: finding.Sandbox{Kind: "kubernetes", Reason: "completed"}}))
	return r, event.SensorReport{ScanID: q.ID, Attempt: 1, Lost: true, At: origin.Add(20 * time.Second)}
}

// TestAgainThroughABrokerThatWaits: Knative's in-memory channel answers only
// when everybody has handled the event. The request for another run then waits
// for the runner, and that for this function to take in that the scan started.
func TestAgainThroughABrokerThatWaits(t *testing.T) {
	r, lost := unwatched(t, func(r *rig) function.EmitterFunc {
		return func(ctx context.Context, e ce.Event) error {
			if e.Type() == event.ScanRequested {
				q, err := event.Decode[scan.Request](e)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				started, err := event.New(event.ScanStarted, "/test", string(q.ID), "second", origin, event.Started{Request: q, Attempt: 2, At: origin, Sandbox: "kubernetes", Sensor: event.SensorGVisor})
				if err != nil {
					return err
				}
				if _, err := r.c.Handle(ctx, started); err != nil {
					return err
				}
			}
			return r.Emit(ctx, e)
		}
	})
	if err := r.handle(event.SensorReported, lost); err != nil {
		t.Fatal(err)
	}
	if n := len(r.events(event.ScanRequested)); n != 1 {
		t.Errorf("the scan was requested %d times more, want once", n)
	}
}

// TestAgainIsTheSameRequestEachTime: the broker may have taken a request whose
// answer got lost. The one that is sent then must not read as another.
func TestAgainIsTheSameRequestEachTime(t *testing.T) {
	var asked []ce.Event
	r, lost := unwatched(t, func(r *rig) function.EmitterFunc {
		return func(ctx context.Context, e ce.Event) error {
			if e.Type() != event.ScanRequested {
				return r.Emit(ctx, e)
			}
			asked = append(asked, e)
			r.mu.Lock()
			r.now = r.now.Add(time.Minute)
			r.mu.Unlock()
			if len(asked) < 3 {
				return errors.New("the answer got lost")
			}
			return nil
		}
	})
	for n := range 4 {
		if err := r.handle(event.SensorReported, lost); (err != nil) != (n < 2) {
			t.Fatalf("delivery %d: %v", n, err)
		}
	}
	if len(asked) != 3 {
		t.Fatalf("requested %d times, want 3: two attempts and the one that was answered", len(asked))
	}
	same := func(e ce.Event) bool { return e.ID() == asked[0].ID() && e.Time().Equal(asked[0].Time()) }
	if !same(asked[1]) || !same(asked[2]) {
		t.Errorf("requests differ: %v", asked)
	}
	s, _, err := r.states.Load(t.Context(), scanID(1))
	if err != nil || s.Again.IsZero() || s.ScanID != scanID(1) {
		t.Errorf("%+v, %v", correlate.State{Again: s.Again}, err)
	}
}

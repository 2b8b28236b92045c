// Package eventtest helps to test what emits, handles and carries events: a
// Recorder with expectations, fixtures, archives of events in and events out, and
// a JetStream server for a test.
//
// Expectations wait, since delivery is asynchronous, and don't look at order,
// since delivery has none.
package eventtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/function"
)

const (
	// Patience is how long an expectation waits for events.
	Patience = 10 * time.Second
	// Quiet is how long ExpectExactly listens for an event too many.
	Quiet = 100 * time.Millisecond
)

// Recorder keeps every event that is handled by or emitted to it. The zero
// value is ready and succeeds. It is safe for concurrent use.
type Recorder struct {
	// Answer, if set, is asked for the outcome of each event. n counts the
	// deliveries of events with this source and ID, from 1.
	Answer func(ctx context.Context, e ce.Event, n int) (*ce.Event, error)

	mu     sync.Mutex
	events []ce.Event
	counts map[string]int
	change chan struct{} // closed at the next event
}

var (
	_ function.Handler = (*Recorder)(nil)
	_ function.Emitter = (*Recorder)(nil)
)

// Handle records the event and answers.
func (r *Recorder) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	n := r.record(e)
	if r.Answer == nil {
		return nil, nil
	}
	return r.Answer(ctx, e, n)
}

// Emit records the event and returns the answer's error.
func (r *Recorder) Emit(ctx context.Context, e ce.Event) error {
	_, err := r.Handle(ctx, e)
	return err
}

func (r *Recorder) record(e ce.Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	key := e.Source() + "\x00" + e.ID()
	r.counts[key]++
	r.events = append(r.events, e.Clone())
	if r.change != nil {
		close(r.change)
		r.change = nil
	}
	return r.counts[key]
}

// Events returns what was recorded so far, in order of arrival.
func (r *Recorder) Events() []ce.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// IDs returns the sorted IDs of the recorded events, repeated ones repeatedly.
func (r *Recorder) IDs() []string {
	var ids []string
	for _, e := range r.Events() {
		ids = append(ids, e.ID())
	}
	slices.Sort(ids)
	return ids
}

// next returns the recorded events and a channel that closes at the next one.
func (r *Recorder) next() ([]ce.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change == nil {
		r.change = make(chan struct{})
	}
	return slices.Clone(r.events), r.change
}

// Match describes an expected event.
type Match struct {
	name string
	ok   func(ce.Event) bool
}

// Type matches events by type.
func Type(typ string) Match {
	return Match{"type " + typ, func(e ce.Event) bool { return e.Type() == typ }}
}

// ID matches events by ID.
func ID(id string) Match {
	return Match{"id " + id, func(e ce.Event) bool { return e.ID() == id }}
}

// Where matches events by a predicate; name describes it in failures.
func Where(name string, ok func(ce.Event) bool) Match { return Match{name, ok} }

// Expect waits until every match has an event of its own among those recorded,
// others aside.
func (r *Recorder) Expect(t testing.TB, want ...Match) {
	t.Helper()
	if missing, extra := r.await(want); len(missing) > 0 {
		t.Fatalf("no event for: %s\nother events:\n%s", strings.Join(missing, ", "), describe(extra))
	}
}

// ExpectExactly is Expect, and fails on any further event that comes within
// Quiet.
func (r *Recorder) ExpectExactly(t testing.TB, want ...Match) {
	t.Helper()
	r.Expect(t, want...)
	time.Sleep(Quiet)
	if _, extra := pair(r.Events(), want); len(extra) > 0 {
		t.Fatalf("%d events too many:\n%s", len(extra), describe(extra))
	}
}

func (r *Recorder) await(want []Match) (missing []string, extra []ce.Event) {
	timeout := time.After(Patience)
	for {
		events, change := r.next()
		if missing, extra = pair(events, want); len(missing) == 0 {
			return nil, extra
		}
		select {
		case <-change:
		case <-timeout:
			return missing, extra
		}
	}
}

// pair gives each match the first free event that fits.
func pair(events []ce.Event, want []Match) (missing []string, extra []ce.Event) {
	extra = slices.Clone(events)
	for _, m := range want {
		i := slices.IndexFunc(extra, m.ok)
		if i < 0 {
			missing = append(missing, m.name)
			continue
		}
		extra = slices.Delete(extra, i, i+1)
	}
	return missing, extra
}

func describe(events []ce.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "  %s %s %s %s %.200s\n", e.Type(), e.Source(), e.ID(), e.Subject(), e.Data())
	}
	return b.String()
}

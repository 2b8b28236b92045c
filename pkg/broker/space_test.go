package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

func large(typ, id string) ce.Event {
	e := eventtest.Event(typ, id)
	_ = e.SetData("text/plain", strings.Repeat("x", 8<<10))
	return e
}

// TestAFullBrokerRefusesAndLosesNothing fills the broker while its subscriber
// is stuck, then lets it work itself free through replies, which need space too.
func TestAFullBrokerRefusesAndLosesNothing(t *testing.T) {
	release := make(chan struct{})
	done := &eventtest.Recorder{}
	work := function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		select {
		case <-release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		reply := eventtest.Event("done", e.ID()+"+")
		return &reply, nil
	})
	r := start(t, setup{
		triggers: map[string]string{"work": "  filters: [{exact: {type: a}}]", "done": "  filters: [{exact: {type: done}}]"},
		handlers: map[string]function.Handler{"work": work, "done": done},
		adjust:   func(c *broker.Config) { c.MaxBytes = 1 << 20 },
	})
	var want []eventtest.Match
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		if err = r.Emit(t.Context(), large("a", fmt.Sprint(i))); err == nil {
			want = append(want, eventtest.ID(fmt.Sprint(i)+"+"))
		}
	}
	if !errors.Is(err, broker.ErrFull) || fault.KindOf(err) != fault.Transient || len(want) < 50 {
		t.Fatalf("after %d events: %v, want ErrFull", len(want), err)
	}
	close(release)
	done.ExpectExactly(t, want...)
	r.dead.ExpectExactly(t)
	// Handled events make way.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := 0; ; i++ {
		err := r.Emit(ctx, large("a", "late"))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the broker stays full: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	done.ExpectExactly(t, append(want, eventtest.ID("late+"))...)
}

// TestTheLogIsTrimmedByAge: handled events go, an unhandled one stays however
// old it is.
func TestTheLogIsTrimmedByAge(t *testing.T) {
	release := make(chan struct{})
	rec := &eventtest.Recorder{Answer: func(ctx context.Context, e ce.Event, _ int) (*ce.Event, error) {
		if e.ID() == "stuck" {
			select {
			case <-release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return nil, nil
	}}
	r := start(t, setup{
		triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec},
		adjust: func(c *broker.Config) { c.Keep = time.Millisecond },
	})
	r.emit(t, eventtest.Event("a", "1"))
	rec.Expect(t, eventtest.ID("1"))
	r.emit(t, eventtest.Event("a", "stuck"), eventtest.Event("a", "2"))
	rec.Expect(t, eventtest.ID("stuck"), eventtest.ID("2"))
	logged := func() (ids []string) {
		for s, err := range r.Events(t.Context(), broker.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.Event.ID())
		}
		return ids
	}
	until := func(want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); strings.Join(logged(), " ") != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("log holds %v, want %s", logged(), want)
			}
		}
	}
	until("stuck 2")
	close(release)
	until("")
}

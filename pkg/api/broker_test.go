package api_test

import (
	"context"
	"iter"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// brokerLog reads the log of the embedded broker.
type brokerLog struct{ *broker.Broker }

func (l brokerLog) Events(ctx context.Context, q api.Query) iter.Seq2[api.Logged, error] {
	return func(yield func(api.Logged, error) bool) {
		for s, err := range l.Broker.Events(ctx, broker.Query{After: q.After, Type: q.Type, Subject: q.Subject, Limit: q.Limit, Follow: q.Follow}) {
			if !yield(api.Logged(s), err) {
				return
			}
		}
	}
}

// storedLetters has the letters of the dead-letter function.
type storedLetters struct {
	*deadletter.Store
	broker *broker.Broker
}

func (l storedLetters) List(ctx context.Context) iter.Seq2[api.Letter, error] {
	return func(yield func(api.Letter, error) bool) {
		for x, err := range l.Store.List(ctx) {
			if !yield(api.Letter{ID: x.ID, At: x.At, Trigger: x.Trigger, Code: x.Code, Reason: x.Reason, Event: x.Event}, err) {
				return
			}
		}
	}
}

func (l storedLetters) Replay(ctx context.Context, id string) error {
	return l.Store.Replay(ctx, id, l.broker, l.broker)
}

// TestOnTheEmbeddedBroker submits a scan that fails for want of a sandbox,
// becomes a dead letter, and is replayed once there is one.
func TestOnTheEmbeddedBroker(t *testing.T) {
	nc := eventtest.NATS(t)
	store, err := deadletter.New(t.Context(), nc)
	must(t, err)
	filter := func(typ string) string { return "  filter: {attributes: {type: " + typ + "}}" }
	b, err := broker.New(t.Context(), broker.Config{Conn: nc, Name: eventtest.Broker(), Log: eventtest.Log(t),
		Triggers: eventtest.Topology(t, map[string]string{"runner": filter(event.ScanRequested), "ledger": filter(event.ScanFinished)})})
	must(t, err)
	r, c, _ := serveRig(t, func(c *api.Config) {
		c.Emitter, c.Log, c.Letters = b, brokerLog{b}, storedLetters{store, b}
	})
	works := make(chan bool, 1)
	works <- false
	b.Subscribe("runner", function.HandlerFunc(func(_ context.Context, e ce.Event) (*ce.Event, error) {
		ok := <-works
		works <- ok
		if !ok {
			return nil, fault.Errorf(fault.Permanent, "no sandbox")
		}
		f, err := finished(e)
		return &f, err
	}))
	b.Subscribe("ledger", r.ledger)
	b.Subscribe("dead", store)
	must(t, b.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, b.Close(ctx))
	})
	id := submit(t, c)
	letter := awaitLetter(t, c.DeadLetters)
	<-works
	works <- true
	done, err := c.Replay(t.Context(), api.Replay{All: true})
	if err != nil || len(done.Replayed) != 1 || done.Replayed[0] != letter.ID {
		t.Fatalf("Replay = %+v, %v", done, err)
	}
	var types []string
	for e, err := range c.ScanEvents(t.Context(), id, api.Query{Follow: true}) {
		must(t, err)
		types = append(types, e.Event.Type())
	}
	if len(types) != 2 || types[1] != event.ScanFinished {
		t.Errorf("events %v", types)
	}
}

// finished answers a request with a clean result.
func finished(e ce.Event) (ce.Event, error) {
	req, err := event.Decode[scan.Request](e)
	if err != nil {
		return ce.Event{}, err
	}
	return event.New(event.ScanFinished, event.Source("correlator"), string(req.ID), event.ID(event.ScanFinished, string(req.ID)), eventtest.At(),
		finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: req.ID, Revision: 1, Verdict: finding.Clean, Project: req.Project})
}

func awaitLetter(t *testing.T, list func(context.Context, int) (api.LetterPage, error)) api.Letter {
	t.Helper()
	for range 500 {
		p, err := list(t.Context(), 10)
		must(t, err)
		if len(p.Letters) > 0 {
			return p.Letters[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no dead letter")
	return api.Letter{}
}

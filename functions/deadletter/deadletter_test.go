package deadletter_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func open(t *testing.T) *deadletter.Store {
	t.Helper()
	s, err := deadletter.New(t.Context(), eventtest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// failed is a dead letter as a broker sends it.
func failed(id, trigger, reason string) ce.Event {
	e := eventtest.Event("a", id)
	e.SetExtension("scanid", "s")
	e.SetExtension(broker.ExtErrorDest, "http://f.test.svc.cluster.local")
	e.SetExtension(broker.ExtErrorCode, 503)
	e.SetExtension(broker.ExtErrorData, base64.StdEncoding.EncodeToString([]byte(`{"error":"`+reason+`"}`)))
	if trigger != "" {
		e.SetExtension(broker.ExtTrigger, trigger)
	}
	return e
}

func put(t *testing.T, s *deadletter.Store, events ...ce.Event) {
	t.Helper()
	for _, e := range events {
		if reply, err := s.Handle(t.Context(), e); reply != nil || err != nil {
			t.Fatalf("reply %v, error %v", reply, err)
		}
	}
}

func list(t *testing.T, s *deadletter.Store) []deadletter.Letter {
	t.Helper()
	var ls []deadletter.Letter
	for l, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	}
	return ls
}

func TestALetterForEachEventAndTrigger(t *testing.T) {
	s := open(t)
	put(t, s, failed("1", "f", "first"), failed("1", "g", "other trigger"), failed("1", "f", "again"), failed("2", "", "cluster"))
	var got []string
	for _, l := range list(t, s) {
		got = append(got, fmt.Sprintf("%s %s %d %s %v", l.Event.ID(), l.Trigger, l.Code, l.Reason, l.Event.Extensions()))
	}
	want := []string{"1 g 503 other trigger map[scanid:s]", "1 f 503 again map[scanid:s]", "2  503 cluster map[scanid:s]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
}

func TestHostileReasons(t *testing.T) {
	s := open(t)
	for i, data := range []string{"", "not base64", "e30=", strings.Repeat("A", 1023), base64.StdEncoding.EncodeToString([]byte("a\r\nb\x00\xff"))} {
		e := failed(fmt.Sprint(i), "f", "")
		e.SetExtension(broker.ExtErrorData, data)
		e.SetExtension(broker.ExtErrorCode, "x")
		put(t, s, e)
	}
	if n := len(list(t, s)); n != 5 {
		t.Errorf("%d letters, want 5", n)
	}
}

func TestDataThatIsNotWhatItClaimsIsKept(t *testing.T) {
	s := open(t)
	e := failed("1", "f", "not JSON")
	e.DataEncoded = []byte("{\xff")
	put(t, s, e)
	if got := list(t, s)[0].Event; string(got.Data()) != "{\xff" || got.DataContentType() != ce.ApplicationJSON {
		t.Errorf("got %s", got)
	}
}

func TestGetAndDiscard(t *testing.T) {
	s := open(t)
	put(t, s, failed("1", "f", "r"))
	l := list(t, s)[0]
	got, err := s.Get(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, got, cmpopts.IgnoreUnexported(deadletter.Letter{})); diff != "" {
		t.Error(diff)
	}
	if err := s.Discard(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{l.ID, "", "*", ">", "../x"} {
		if err := s.Discard(t.Context(), id); !errors.Is(err, deadletter.ErrNotFound) || fault.KindOf(err) != fault.Permanent {
			t.Errorf("discard %q: %v", id, err)
		}
	}
}

// TestReplay runs the store behind a real broker: an event fails, is repaired,
// and is replayed to the trigger that failed only.
func TestReplay(t *testing.T) {
	nc := eventtest.NATS(t)
	s, err := deadletter.New(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	broken.Store(true)
	f := &eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) {
		if broken.Load() {
			return nil, fault.Errorf(fault.Permanent, "broken")
		}
		return nil, nil
	}}
	g := &eventtest.Recorder{}
	b, err := broker.New(t.Context(), broker.Config{
		Conn: nc, Name: eventtest.Broker(), Log: eventtest.Log(t),
		Triggers: eventtest.Topology(t, map[string]string{"f": "", "g": ""}),
	})
	if err != nil {
		t.Fatal(err)
	}
	dead := &eventtest.Recorder{Answer: func(ctx context.Context, e ce.Event, _ int) (*ce.Event, error) { return s.Handle(ctx, e) }}
	b.Subscribe("f", f)
	b.Subscribe("g", g)
	b.Subscribe("dead", dead)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	if err := b.Emit(t.Context(), eventtest.Event("a", "1")); err != nil {
		t.Fatal(err)
	}
	g.Expect(t, eventtest.ID("1"))
	dead.Expect(t, eventtest.ID("1"))
	f.Expect(t, eventtest.ID("1"))

	replay := func() {
		t.Helper()
		waitFor(t, func() bool { return len(list(t, s)) == 1 })
		if err := s.Replay(t.Context(), list(t, s)[0].ID, b, b); err != nil {
			t.Fatal(err)
		}
	}
	replay() // still broken: comes back
	dead.Expect(t, eventtest.ID("1"), eventtest.ID("1"))
	broken.Store(false)
	replay()
	f.ExpectExactly(t, eventtest.ID("1"), eventtest.ID("1"), eventtest.ID("1"))
	g.ExpectExactly(t, eventtest.ID("1"))
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d letters left", n)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventtest.Patience)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatal("it did not happen in time")
		}
	}
}

// interrupted is a broker that takes the event and whose caller then dies.
type interrupted struct{ keys []string }

func (r *interrupted) Redeliver(_ context.Context, _ string, _ ce.Event, key string) error {
	r.keys = append(r.keys, key)
	return errors.New("the answer was lost")
}

func TestAnInterruptedReplayKeepsItsKey(t *testing.T) {
	s, r := open(t), &interrupted{}
	put(t, s, failed("1", "f", "r"))
	id := list(t, s)[0].ID
	for range 2 {
		if err := s.Replay(t.Context(), id, r, nil); err == nil {
			t.Fatal("no error")
		}
	}
	if len(list(t, s)) != 1 || r.keys[0] != r.keys[1] {
		t.Errorf("letters %v, keys %v", list(t, s), r.keys)
	}
}

func TestALetterWithoutATriggerGoesToTheBroker(t *testing.T) {
	s, rec := open(t), &eventtest.Recorder{}
	put(t, s, failed("1", "", "r"))
	if err := s.Replay(t.Context(), list(t, s)[0].ID, nil, rec); err != nil {
		t.Fatal(err)
	}
	rec.ExpectExactly(t, eventtest.ID("1"))
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d letters left", n)
	}
}

package broker_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// rig is a broker under test.
type rig struct {
	*broker.Broker
	dead *eventtest.Recorder
}

type setup struct {
	conn     *nats.Conn
	triggers map[string]string
	handlers map[string]function.Handler
	dead     *eventtest.Recorder
	adjust   func(*broker.Config)
}

// open makes a broker with its subscribers, not started.
func open(t testing.TB, s setup) *rig {
	t.Helper()
	if s.conn == nil {
		s.conn = eventtest.NATS(t)
	}
	if s.dead == nil {
		s.dead = &eventtest.Recorder{}
	}
	cfg := broker.Config{Conn: s.conn, Name: eventtest.Broker(), Triggers: eventtest.Topology(t, s.triggers), Log: eventtest.Log(t)}
	if s.adjust != nil {
		s.adjust(&cfg)
	}
	b, err := broker.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range s.handlers {
		b.Subscribe(name, h)
	}
	b.Subscribe("dead", s.dead)
	return &rig{b, s.dead}
}

// start opens and starts a broker that is closed with the test.
func start(t testing.TB, s setup) *rig {
	t.Helper()
	r := open(t, s)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, r) })
	return r
}

func shut(t testing.TB, r *rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func (r *rig) emit(t testing.TB, events ...ce.Event) {
	t.Helper()
	for _, e := range events {
		if err := r.Emit(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
}

const onlyA = "  filters: [{exact: {type: a}}]"

func TestEachMatchingTriggerGetsTheEventOnce(t *testing.T) {
	all, a, b := &eventtest.Recorder{}, &eventtest.Recorder{}, &eventtest.Recorder{}
	r := start(t, setup{
		triggers: map[string]string{"all": "", "a": onlyA, "b": "  filters: [{cesql: \"type = 'b'\"}]"},
		handlers: map[string]function.Handler{"all": all, "a": a, "b": b},
	})
	r.emit(t, eventtest.Event("a", "1"), eventtest.Event("b", "2"), eventtest.Event("a", "1"))
	all.ExpectExactly(t, eventtest.ID("1"), eventtest.ID("2"))
	a.ExpectExactly(t, eventtest.ID("1"))
	b.ExpectExactly(t, eventtest.ID("2"))
	if got := all.Events()[0].Extensions(); len(got) != 0 {
		t.Errorf("the broker's extensions %v reached the subscriber", got)
	}
}

func TestEventsSurviveTheStoreUnchanged(t *testing.T) {
	rec := &eventtest.Recorder{}
	r := start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec}})
	mk := func(id string, set func(*ce.Event)) ce.Event {
		e := eventtest.Event("t", id)
		set(&e)
		return e
	}
	want := []ce.Event{
		mk("bytes", func(e *ce.Event) { _ = e.SetData("application/octet-stream", []byte{0, 0xff, 0xfe}) }),
		mk("text", func(e *ce.Event) { _ = e.SetData("text/plain", "\u00e4 <b>\n") }),
		mk("markup", func(e *ce.Event) { _ = e.SetData(ce.ApplicationJSON, map[string]string{"a": "<&>\u2028"}) }),
		mk("none", func(e *ce.Event) { *e = ce.New(); e.SetID("none"); e.SetType("t"); e.SetSource("/test") }),
		mk("subject", func(e *ce.Event) { e.SetSubject("gruppe/\u00fcber > * .. projekt"); e.SetExtension("n", 7) }),
		mk("type", func(e *ce.Event) { e.SetType("a..b.*.> \u00e9") }),
	}
	// As ingress makes it of a binary request: bytes without the base64 flag.
	raw := eventtest.Event("t", "raw")
	raw.SetDataContentType("application/octet-stream")
	raw.DataEncoded, raw.DataBase64 = []byte{0xff, 0x00, '"'}, false
	want = append(want, raw)
	r.emit(t, want...)
	var ids []eventtest.Match
	for _, e := range want {
		ids = append(ids, eventtest.ID(e.ID()))
	}
	rec.ExpectExactly(t, ids...)
	for _, got := range rec.Events() {
		w := want[slices.IndexFunc(want, func(e ce.Event) bool { return e.ID() == got.ID() })]
		if got.Type() != w.Type() || got.Subject() != w.Subject() || string(got.Data()) != string(w.Data()) || !got.Time().Equal(w.Time()) ||
			fmt.Sprint(got.Extensions()) != fmt.Sprint(w.Extensions()) {
			t.Errorf("got %s, want %s", got, w)
		}
	}
}

func TestRetryThenSuccess(t *testing.T) {
	rec := &eventtest.Recorder{Answer: func(_ context.Context, _ ce.Event, n int) (*ce.Event, error) {
		if n == 2 {
			panic("second attempt")
		}
		if n < 3 {
			return nil, errors.New("not yet")
		}
		return nil, nil
	}}
	r := start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec}})
	r.emit(t, eventtest.Event("a", "1"))
	rec.ExpectExactly(t, eventtest.ID("1"), eventtest.ID("1"), eventtest.ID("1"))
	r.dead.ExpectExactly(t)
}

func TestDeadLetters(t *testing.T) {
	tests := map[string]struct {
		err      error
		attempts int
		code     int32
	}{
		"transient, after the retries": {errors.New("down"), 3, 503},
		"deadline":                     {context.DeadlineExceeded, 3, 504},
		"invalid, at once":             {fault.Errorf(fault.Invalid, "bad <%s>", strings.Repeat("x", 5000)), 1, 400},
		"permanent, at once":           {fault.Errorf(fault.Permanent, "no such thing"), 1, 422},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rec := &eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) { return nil, tt.err }}
			r := start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec}})
			r.emit(t, eventtest.Event("a", "1"))
			r.dead.ExpectExactly(t, eventtest.ID("1"))
			rec.ExpectExactly(t, slices.Repeat([]eventtest.Match{eventtest.ID("1")}, tt.attempts)...)
			ext := r.dead.Events()[0].Extensions()
			data, err := base64.StdEncoding.DecodeString(ext[broker.ExtErrorData].(string))
			if err != nil || len(data) > 768 || !strings.HasPrefix(tt.err.Error(), strings.Split(strings.TrimPrefix(string(data), `{"error":"`), `\`)[0][:3]) {
				t.Errorf("error data %q, %v", data, err)
			}
			delete(ext, broker.ExtErrorData)
			want := map[string]any{broker.ExtErrorDest: "http://f.test.svc.cluster.local", broker.ExtErrorCode: tt.code, broker.ExtTrigger: "f"}
			if diff := cmp.Diff(want, ext); diff != "" {
				t.Errorf("extensions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeadLetterSinkThatFailsIsTriedAgain(t *testing.T) {
	dead := &eventtest.Recorder{Answer: func(_ context.Context, _ ce.Event, n int) (*ce.Event, error) {
		if n == 1 {
			return nil, fault.Errorf(fault.Invalid, "the disk is full")
		}
		return nil, nil
	}}
	rec := &eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) {
		return nil, fault.Errorf(fault.Invalid, "no")
	}}
	r := start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec}, dead: dead})
	r.emit(t, eventtest.Event("a", "1"))
	dead.ExpectExactly(t, eventtest.ID("1"), eventtest.ID("1"))
	rec.ExpectExactly(t, eventtest.ID("1"))
}

func TestRepliesReenterTheBroker(t *testing.T) {
	b := &eventtest.Recorder{}
	a := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) {
		reply := eventtest.Event("b", "2")
		return &reply, nil
	})
	r := start(t, setup{
		triggers: map[string]string{"a": onlyA, "b": "  filters: [{exact: {type: b}}]"},
		handlers: map[string]function.Handler{"a": a, "b": b},
	})
	r.emit(t, eventtest.Event("a", "1"))
	b.ExpectExactly(t, eventtest.ID("2"))
}

func TestAReplyThatIsNoEventIsADeadLetter(t *testing.T) {
	f := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { reply := ce.New(); return &reply, nil })
	r := start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": f}})
	r.emit(t, eventtest.Event("a", "1"))
	r.dead.ExpectExactly(t, eventtest.ID("1"))
}

func TestLoopsEnd(t *testing.T) {
	for _, by := range []string{"reply", "emit"} {
		t.Run(by, func(t *testing.T) {
			var r *rig
			var n atomic.Int32
			f := function.HandlerFunc(func(ctx context.Context, _ ce.Event) (*ce.Event, error) {
				next := eventtest.Event("a", fmt.Sprint(n.Add(1)))
				if by == "reply" {
					return &next, nil
				}
				return nil, r.Emit(ctx, next)
			})
			r = start(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": f}})
			r.emit(t, eventtest.Event("a", "0"))
			r.dead.ExpectExactly(t, eventtest.ID(fmt.Sprint(broker.MaxHops-1)))
			if got := n.Load(); got != broker.MaxHops {
				t.Errorf("%d generations, want %d", got, broker.MaxHops)
			}
		})
	}
}

func TestEmitRefuses(t *testing.T) {
	r := open(t, setup{adjust: func(c *broker.Config) { c.MaxEvent = 4096 }})
	tests := map[string]struct {
		change func(*ce.Event)
		kind   fault.Kind
	}{
		"no id":          {func(e *ce.Event) { e.SetID("") }, fault.Invalid},
		"control":        {func(e *ce.Event) { e.SetSubject("a\nb") }, fault.Invalid},
		"too large":      {func(e *ce.Event) { _ = e.SetData("text/plain", strings.Repeat("x", 5000)) }, fault.TooLarge},
		"not JSON":       {func(e *ce.Event) { e.DataEncoded = []byte("{") }, fault.Invalid},
		"no hops":        {func(e *ce.Event) { e.SetExtension("knativebrokerttl", 1) }, fault.Invalid},
		"hops that lie":  {func(e *ce.Event) { e.SetExtension("knativebrokerttl", "many") }, fault.Invalid},
		"long type":      {func(e *ce.Event) { e.SetType(strings.Repeat("t", event.MaxType+1)) }, fault.Invalid},
		"old version":    {func(e *ce.Event) { e.SetSpecVersion("0.3") }, fault.Invalid},
		"empty":          {func(e *ce.Event) { *e = ce.Event{} }, fault.Invalid},
		"many extension": {func(e *ce.Event) { manyExtensions(e) }, fault.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := eventtest.Event("a", "1")
			tt.change(&e)
			if err := r.Emit(t.Context(), e); err == nil || fault.KindOf(err) != tt.kind {
				t.Errorf("got %v (%s), want %s", err, fault.KindOf(err), tt.kind)
			}
		})
	}
}

func manyExtensions(e *ce.Event) {
	for i := range event.MaxExtensions + 1 {
		e.SetExtension(fmt.Sprintf("x%d", i), "1")
	}
}

func TestStartRefuses(t *testing.T) {
	r := open(t, setup{triggers: map[string]string{"f": ""}})
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), `trigger f: its subscriber "f" is not registered`) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrencyIsBoundedOverAllTriggers(t *testing.T) {
	var now, most atomic.Int32
	f := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		return nil, nil
	})
	rec := &eventtest.Recorder{}
	both := function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		_, _ = f(ctx, e)
		return rec.Handle(ctx, e)
	})
	sub := "  filters: [{exact: {type: %s}}]"
	r := open(t, setup{
		triggers: map[string]string{"f": fmt.Sprintf(sub, "a"), "g": fmt.Sprintf(sub, "b")},
		handlers: map[string]function.Handler{"g": both},
	})
	r.Subscribe("f", both, broker.Concurrency(3))
	r.Subscribe("g", both, broker.Concurrency(1))
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer shut(t, r)
	var want []eventtest.Match
	for i := range 40 {
		e := eventtest.Event([]string{"a", "b"}[i%2], fmt.Sprint(i))
		r.emit(t, e)
		want = append(want, eventtest.ID(e.ID()))
	}
	rec.ExpectExactly(t, want...)
	if m := most.Load(); m > 4 || m < 2 {
		t.Errorf("at most %d ran at once, want up to 3+1", m)
	}
}

func TestCloseLetsHandlersFinish(t *testing.T) {
	began, finished := make(chan struct{}), make(chan struct{})
	f := function.HandlerFunc(func(ctx context.Context, _ ce.Event) (*ce.Event, error) {
		close(began)
		time.Sleep(100 * time.Millisecond)
		close(finished)
		return nil, ctx.Err()
	})
	r := open(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": f}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.emit(t, eventtest.Event("a", "1"))
	<-began
	shut(t, r)
	select {
	case <-finished:
	default:
		t.Error("Close returned before the handler")
	}
	shut(t, r) // again does no harm
}

func TestWhatCloseCutsOffIsDeliveredAtTheNextStart(t *testing.T) {
	conn := eventtest.NATS(t)
	began := make(chan struct{})
	stuck := function.HandlerFunc(func(ctx context.Context, _ ce.Event) (*ce.Event, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	s := setup{conn: conn, triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": stuck}}
	r := open(t, s)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.emit(t, eventtest.Event("a", "1"))
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); fault.KindOf(err) != fault.Transient || err == nil {
		t.Errorf("close: %v, want a transient error", err)
	}
	rec := &eventtest.Recorder{}
	s.handlers = map[string]function.Handler{"f": rec}
	start(t, s)
	rec.ExpectExactly(t, eventtest.ID("1"))
}

func TestEventsWaitForTheStart(t *testing.T) {
	rec := &eventtest.Recorder{}
	r := open(t, setup{triggers: map[string]string{"f": ""}, handlers: map[string]function.Handler{"f": rec}})
	r.emit(t, eventtest.Event("a", "1"))
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer shut(t, r)
	rec.ExpectExactly(t, eventtest.ID("1"))
}

func TestANewTriggerHearsOfNewEventsOnly(t *testing.T) {
	conn := eventtest.NATS(t)
	old, fresh := &eventtest.Recorder{}, &eventtest.Recorder{}
	s := setup{conn: conn, triggers: map[string]string{"old": ""}, handlers: map[string]function.Handler{"old": old, "fresh": fresh}}
	r := open(t, s)
	r.emit(t, eventtest.Event("a", "1"))
	s.triggers = map[string]string{"fresh": ""}
	r = start(t, s)
	r.emit(t, eventtest.Event("a", "2"))
	fresh.ExpectExactly(t, eventtest.ID("2"))
	old.ExpectExactly(t)
}

func TestRedeliverReachesOneTrigger(t *testing.T) {
	f, g := &eventtest.Recorder{}, &eventtest.Recorder{}
	r := start(t, setup{triggers: map[string]string{"f": onlyA, "g": ""}, handlers: map[string]function.Handler{"f": f, "g": g}})
	r.emit(t, eventtest.Event("a", "1"))
	f.Expect(t, eventtest.ID("1"))
	for _, key := range []string{"first", "first", "second"} {
		if err := r.Redeliver(t.Context(), "f", eventtest.Event("a", "1"), key); err != nil {
			t.Fatal(err)
		}
	}
	f.ExpectExactly(t, eventtest.ID("1"), eventtest.ID("1"), eventtest.ID("1"))
	g.ExpectExactly(t, eventtest.ID("1"))
	if err := r.Redeliver(t.Context(), "none", eventtest.Event("a", "1"), "k"); fault.KindOf(err) != fault.Permanent {
		t.Errorf("unknown trigger: %v", err)
	}
}

// TestBackoffAcrossARestart: a long wait goes on, a short one ends.
func TestBackoffAcrossARestart(t *testing.T) {
	for delay, atOnce := range map[string]bool{"PT2S": true, "PT30S": false} {
		t.Run(delay, func(t *testing.T) {
			rec := &eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) { return nil, errors.New("down") }}
			s := setup{
				conn:     eventtest.NATS(t),
				triggers: map[string]string{"f": "  delivery: {retry: 5, backoffPolicy: exponential, backoffDelay: " + delay + "}"},
				handlers: map[string]function.Handler{"f": rec},
			}
			r := open(t, s)
			if err := r.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.emit(t, eventtest.Event("a", "1"))
			rec.Expect(t, eventtest.ID("1"))
			shut(t, r)
			again := &eventtest.Recorder{}
			s.handlers = map[string]function.Handler{"f": again}
			began := time.Now()
			start(t, s)
			if atOnce {
				again.ExpectExactly(t, eventtest.ID("1"))
				if took := time.Since(began); took > 1500*time.Millisecond {
					t.Errorf("redelivered after %s, as if its wait had gone on", took)
				}
				return
			}
			time.Sleep(500 * time.Millisecond)
			again.ExpectExactly(t)
		})
	}
}

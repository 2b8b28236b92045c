package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func open(t testing.TB) *Ledger {
	t.Helper()
	js, err := jetstream.New(eventtest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), js, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func at(minute int) time.Time { return eventtest.At().Add(time.Duration(minute) * time.Minute) }

func request(n int) scan.Request {
	r := scan.Request{Project: fmt.Sprintf("local/p%d", n), Root: ".", Manager: "npm", Commit: "c"}
	r.ID = r.Key().ID()
	return r
}

func made(t testing.TB, typ string, minute int, data any) ce.Event {
	t.Helper()
	e, err := event.New(typ, event.Source("x"), "s", event.ID(typ, fmt.Sprint(minute)), at(minute), data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// story is what happens to a scan that finishes and is amended.
func story(t testing.TB) []ce.Event {
	r := request(1)
	result := func(revision, minute int, v finding.Verdict) finding.Result {
		return finding.Result{ScanID: r.ID, Revision: revision, Verdict: v, Project: r.Project, Root: ".", Manager: "npm", Commit: "c", Started: at(1), Finished: at(minute)}
	}
	return []ce.Event{
		made(t, event.ScanRequested, 0, r),
		made(t, event.ScanStarted, 1, event.Started{Request: r, Attempt: 2, At: at(1)}),
		made(t, event.ScanFinished, 2, result(1, 2, finding.Clean)),
		made(t, event.ScanAmended, 3, result(2, 3, finding.Malicious)),
	}
}

func handle(t testing.TB, l *Ledger, events ...ce.Event) {
	t.Helper()
	for _, e := range events {
		if _, err := l.Handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func record(t testing.TB, l *Ledger) Record {
	t.Helper()
	r, err := l.Get(t.Context(), request(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAScanLivesThroughItsStates(t *testing.T) {
	l := open(t)
	if _, err := l.Get(t.Context(), request(1).ID); !errors.Is(err, ErrUnknown) || fault.KindOf(err) != fault.Permanent {
		t.Errorf("Get before anything = %v", err)
	}
	for i, want := range []Record{
		{Status: Pending},
		{Status: Running, Attempt: 2, Started: at(1)},
		{Status: Finished, Attempt: 2, Started: at(1), Ended: at(2), Verdict: finding.Clean, Revision: 1},
		{Status: Finished, Attempt: 2, Started: at(1), Ended: at(3), Verdict: finding.Malicious, Revision: 2},
	} {
		handle(t, l, story(t)[i])
		want.ID, want.Project, want.Commit, want.Root, want.Manager, want.Requested = request(1).ID, "local/p1", "c", ".", "npm", at(0)
		if d := cmp.Diff(want, record(t, l)); d != "" {
			t.Errorf("after event %d (-want +got):\n%s", i, d)
		}
	}
}

// TestOrderDoesNotMatter tells the story in every order, each event twice.
func TestOrderDoesNotMatter(t *testing.T) {
	l := open(t)
	handle(t, l, story(t)...)
	want := record(t, l)
	permute(story(t), func(events []ce.Event) {
		if err := l.scans.Purge(t.Context(), string(request(1).ID)); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			handle(t, l, e, e)
		}
		handle(t, l, events[0])
		if d := cmp.Diff(want, record(t, l)); d != "" {
			var order []string
			for _, e := range events {
				order = append(order, e.Type())
			}
			t.Errorf("%v (-want +got):\n%s", order, d)
		}
	})
}

func permute(list []ce.Event, f func([]ce.Event)) {
	var walk func(int)
	walk = func(k int) {
		if k == len(list) {
			f(list)
			return
		}
		for i := k; i < len(list); i++ {
			list[k], list[i] = list[i], list[k]
			walk(k + 1)
			list[k], list[i] = list[i], list[k]
		}
	}
	walk(0)
}

func TestRejection(t *testing.T) {
	l := open(t)
	r := request(1)
	rejected := func(minute int) ce.Event {
		return made(t, event.ScanRejected, minute, event.Rejected{ScanID: r.ID, Project: r.Project, Reason: "no sandbox"})
	}
	handle(t, l, rejected(5), made(t, event.ScanRequested, 0, r))
	if got := record(t, l); got.Status != Rejected || got.Reason != "no sandbox" || got.Ended != at(5) {
		t.Errorf("rejected: %+v", got)
	}
	handle(t, l, made(t, event.ScanRequested, 6, r), rejected(5))
	if got := record(t, l); got.Status != Pending || got.Reason != "" {
		t.Errorf("asked for again: %+v", got)
	}
	handle(t, l, story(t)[2], rejected(9))
	if got := record(t, l); got.Status != Finished {
		t.Errorf("a finished scan was rejected: %+v", got)
	}
	handle(t, l, made(t, event.ScanRejected, 1, event.Rejected{Reason: "concerns no scan"}))
}

func TestInvalidEvents(t *testing.T) {
	l := open(t)
	for name, e := range map[string]ce.Event{
		"type":    made(t, event.RepoPush, 0, event.Push{}),
		"data":    made(t, event.ScanRequested, 0, []int{1}),
		"scan ID": made(t, event.ScanRequested, 0, scan.Request{ID: "../x"}),
		"key":     made(t, event.ScanFinished, 0, finding.Result{ScanID: "a.>"}),
	} {
		if _, err := l.Handle(t.Context(), e); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	for _, id := range []scan.ID{"", "*", "a b", "x.>"} {
		if _, err := l.Get(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("Get(%q) = %v", id, err)
		}
	}
}

func TestConcurrentChanges(t *testing.T) {
	l := open(t)
	var wg sync.WaitGroup
	for range 3 {
		for _, e := range story(t) {
			wg.Go(func() {
				if _, err := l.Handle(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if got := record(t, l); got.Revision != 2 || got.Attempt != 2 || got.Requested != at(0) {
		t.Errorf("%+v", got)
	}
}

func TestList(t *testing.T) {
	l := open(t)
	for i := range 25 {
		handle(t, l, made(t, event.ScanRequested, i, request(i)))
	}
	for i := range 20 { // leaves gaps in the order
		handle(t, l, made(t, event.ScanStarted, 30+i, event.Started{Request: request(3), Attempt: i, At: at(30 + i)}))
	}
	var got []string
	pages := 0
	for next := uint64(0); pages == 0 || next > 0; pages++ {
		page, n, err := l.List(t.Context(), next, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.Project)
		}
		next = n
	}
	want := []string{"local/p3"}
	for i := 24; i >= 0; i-- {
		if i != 3 {
			want = append(want, fmt.Sprintf("local/p%d", i))
		}
	}
	if d := cmp.Diff(want, got); d != "" || pages != 3 {
		t.Errorf("%d pages (-want +got):\n%s", pages, d)
	}
}

func TestStoreIsGone(t *testing.T) {
	l := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Request(ctx, request(1), at(0)); !fault.Retryable(err) {
		t.Errorf("Request = %v, want transient", err)
	}
	if _, _, err := l.List(ctx, 0, 1); !fault.Retryable(err) {
		t.Errorf("List = %v, want transient", err)
	}
}

package alerts

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// recorder is an Emitter that keeps what it was given, after failing for a
// while.
type recorder struct {
	mu    sync.Mutex
	fails int
	list  []event.Alerts
	ids   map[string]int
	grown chan struct{}
}

func newRecorder(fails int) *recorder {
	return &recorder{fails: fails, ids: map[string]int{}, grown: make(chan struct{}, 1)}
}

func (r *recorder) Emit(_ context.Context, e ce.Event) error {
	a, err := event.Decode[event.Alerts](e)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		r.fails--
		return errors.New("broker is away")
	}
	r.list = append(r.list, a)
	r.ids[e.ID()]++
	select {
	case r.grown <- struct{}{}:
	default:
	}
	return nil
}

// count returns the distinct sequences announced for a scan.
func (r *recorder) count(id scan.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	seqs := map[uint64]bool{}
	for _, a := range r.list {
		if a.ScanID == id {
			for _, s := range a.Seqs {
				seqs[s] = true
			}
		}
	}
	return len(seqs)
}

func (r *recorder) await(t *testing.T, id scan.ID, n int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for r.count(id) < n {
		select {
		case <-r.grown:
		case <-deadline:
			t.Fatalf("%d of %d alerts of %s announced", r.count(id), n, id)
		}
	}
}

// notify runs a Notifier until the test or the returned function ends it.
func notify(t *testing.T, s *Store, r *recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewNotifier(s, r, time.Now, slog.New(slog.DiscardHandler)).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestNotifierCoalescesByScan(t *testing.T) {
	s, r := open(t, Config{}), newRecorder(0)
	put(t, s, append(items(scanA, "r", 0, 300), items(scanB, "r", 0, 10)...))
	put(t, s, items("", "r", 0, 5))
	notify(t, s, r)
	r.await(t, scanA, 300)
	r.await(t, scanB, 10)
	r.await(t, "", 5)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) > 20 {
		t.Errorf("%d events for 315 alerts that were there at once", len(r.list))
	}
	for _, a := range r.list {
		if a.Count != len(a.Seqs) || a.First != a.Seqs[0] || a.Last != a.Seqs[len(a.Seqs)-1] {
			t.Errorf("event contradicts itself: %+v", a)
		}
		if want := OtherSubject("", ""); a.ScanID == "" && a.Subject != want {
			t.Errorf("subject %q, want %q", a.Subject, want)
		}
	}
}

func TestNotifierOutlastsBroker(t *testing.T) {
	s, r := open(t, Config{}), newRecorder(3)
	notify(t, s, r)
	put(t, s, items(scanA, "r", 0, 20))
	r.await(t, scanA, 20)
}

func TestNotifierLosesNothingWhenKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a redelivery")
	}
	s := open(t, Config{})
	away := newRecorder(1 << 30)
	stop := notify(t, s, away)
	put(t, s, items(scanA, "r", 0, 20))
	time.Sleep(50 * time.Millisecond) // fetched, not announced
	stop()
	r := newRecorder(0)
	notify(t, s, r)
	r.await(t, scanA, 20)
}

func TestSameAnnouncementHasSameID(t *testing.T) {
	s := open(t, Config{})
	n := NewNotifier(s, nil, time.Now, slog.New(slog.DiscardHandler))
	r := newRecorder(0)
	n.emitter = r
	for range 2 {
		n.emit(t.Context(), &group{Alerts: event.Alerts{ScanID: scanA, Subject: ScanSubject(scanA), First: 1, Last: 2, Count: 2}})
	}
	if len(r.ids) != 1 {
		t.Errorf("IDs %v, want one", r.ids)
	}
}

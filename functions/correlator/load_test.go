package correlator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func TestFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("stores 100,000 alerts")
	}
	r, id := newRig(t, alerts.Config{MaxPerRule: 3000}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	var wg sync.WaitGroup
	for part := range 20 {
		wg.Go(func() {
			list := make([]falco.Alert, 5000)
			for i := range list {
				list[i] = alert(id, part*5000+i, finding.Warning)
			}
			r.must((alerts.Sink{Store: r.alerts}).Put(t.Context(), id, list))
		})
	}
	wg.Wait()
	r.must((alerts.Sink{Store: r.alerts}).Put(t.Context(), id, []falco.Alert{alert(id, 1_000_000, finding.Critical)}))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 100_001)))
	got := r.result(id)
	if got.Verdict != finding.Malicious || got.Counts.Alerts+got.Counts.Capped+got.Counts.Duplicates != 100_001 || got.Counts.Alerts != 3001 {
		t.Errorf("%s, %+v", got.Verdict, got.Counts)
	}
	if len(got.Incomplete) != 1 {
		t.Errorf("incomplete %q", got.Incomplete)
	}
}

func TestTwoCorrelatorsAtOnce(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	other := &rig{t: t, nc: r.nc, alerts: r.alerts, results: r.results, states: r.states, now: origin, ids: map[string]int{}}
	other.restart()
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	var wg sync.WaitGroup
	for _, one := range []*rig{r, other} {
		wg.Go(func() {
			if err := one.handle(event.SandboxExited, exited(id, 1, 0)); err != nil {
				t.Error(err)
			}
		})
	}
	var mu sync.Mutex
	for n := range 20 {
		one := []*rig{r, other}[n%2]
		wg.Go(func() {
			mu.Lock()
			a := one.put(alert(id, n, finding.Warning))
			mu.Unlock()
			if err := one.handle(event.FalcoAlert, a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := r.result(id)
	if got.Counts.Alerts != 20 {
		t.Errorf("%d alerts in the result, want 20", got.Counts.Alerts)
	}
	revisions := map[int]string{}
	for _, e := range slices.Concat(r.sent, other.sent) {
		res, err := event.Decode[finding.Result](e)
		if err != nil {
			t.Fatal(err)
		}
		if prev, ok := revisions[res.Revision]; ok && prev != string(e.Data()) {
			t.Errorf("revision %d went out with two contents", res.Revision)
		}
		revisions[res.Revision] = string(e.Data())
	}
	for n := 1; n <= got.Revision; n++ {
		if revisions[n] == "" {
			t.Errorf("revision %d of %d never went out", n, got.Revision)
		}
	}
}

func TestHandleRefusesWhatItCannotRead(t *testing.T) {
	r := newRig(t, alerts.Config{})
	id := scanID(1)
	bad := map[string]func() error{
		"not an object": func() error { return r.handle(event.ScanStarted, 1) },
		"no scan":       func() error { return r.handle(event.ScanStarted, event.Started{}) },
		"wildcard scan": func() error { return r.handle(event.FalcoAlert, event.Alerts{ScanID: ">"}) },
		"wildcard pod":  func() error { return r.handle(event.FalcoAlert, event.Alerts{Subject: "alerts.>"}) },
		"scan as pod": func() error {
			return r.handle(event.FalcoAlert, event.Alerts{Subject: alerts.ScanSubject(id)})
		},
	}
	for name, do := range bad {
		if err := do(); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v, want fault.Invalid", name, err)
		}
	}
	// Another scan's alerts in an announcement are left alone.
	n := r.put(alert(scanID(2), 1, finding.Critical))
	n.ScanID = id
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, n))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 0)))
	if got := r.result(id); got.Counts.Alerts != 0 {
		t.Errorf("joined another scan's alert: %+v", got.Counts)
	}
}

func TestLocksAreFreed(t *testing.T) {
	l := newLocks()
	unlock, err := l.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.lock(ctx, "a"); !fault.Retryable(err) {
		t.Errorf("waiting in vain: %v", err)
	}
	unlock()
	if len(l.held) != 0 {
		t.Errorf("%d locks left", len(l.held))
	}
}

func TestFoldsForgetTheOldest(t *testing.T) {
	f := newFolds(5000)
	for n := range 100 {
		f.put(scan.ID(fmt.Sprint(n)), correlate.NewFold())
	}
	if f.used > 5000 || len(f.byID) != f.order.Len() || len(f.byID) == 0 {
		t.Errorf("%d bytes, %d and %d entries", f.used, len(f.byID), f.order.Len())
	}
	if _, ok := f.get("99"); !ok {
		t.Error("the newest one is gone")
	}
}

package falcogate

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// away is a transient failure of the store.
func away() error { return fault.Errorf(fault.Transient, "the store is away") }

// intake opens the high-rate path.
func intake(t testing.TB, nc *nats.Conn, s Store, reg *prometheus.Registry, wait time.Duration) *Intake {
	t.Helper()
	g, err := New(s, Config{Log: eventtest.Log(t)}, reg)
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIntake(t.Context(), nc, IntakeConfig{Subject: "falco.>", AckWait: wait, MaxBytes: 2 << 30}, g, reg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// running runs an intake until the returned function is called.
func running(t testing.TB, i *Intake) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = i.Run(ctx) })
	return func() { cancel(); done.Wait() }
}

// flush waits until the server has what was published, and the stream with it.
func flush(t testing.TB, nc *nats.Conn) {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(eventtest.Patience); ; time.Sleep(time.Millisecond) {
		s, err := js.Stream(t.Context(), DefaultIntakeStream)
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Msgs > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream took nothing")
		}
	}
}

// emptied waits until the stream has nothing left.
func emptied(t testing.TB, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(eventtest.Patience); ; time.Sleep(5 * time.Millisecond) {
		s, err := js.Stream(t.Context(), DefaultIntakeStream)
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Msgs == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d alerts are left", s.CachedInfo().State.Msgs)
		}
	}
}

// gateCounts are counts without the gauge.
func gateCounts(t testing.TB, reg *prometheus.Registry) map[string]int {
	got := counts(t, reg)
	delete(got, "falconer_gate_nats_pending")
	return got
}

// TestIntake takes what Falcosidekick publishes: alerts, one of them twice, and
// what is none.
func TestIntake(t *testing.T) {
	nc, m, reg := eventtest.NATS(t), &memory{seen: map[string]bool{}}, prometheus.NewRegistry()
	i := intake(t, nc, m, reg, time.Second)
	for n := range 700 { // more than a batch
		if err := nc.Publish(fmt.Sprintf("falco.error.rule_%d", n%3), []byte(alertJSON(n))); err != nil {
			t.Fatal(err)
		}
	}
	for _, body := range []string{alertJSON(5), "", "nonsense", "{}", `{"rule":1}`} {
		if err := nc.Publish("falco.error.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, nc)
	defer running(t, i)()
	emptied(t, nc)
	got := gateCounts(t, reg)
	balanced(t, got)
	want := map[string]int{"received": 705, "stored": 700, "duplicate": 1, "rejected.malformed": 4}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// TestIntakeKilled leaves a batch to a gate that stores it and is gone before
// it says so: the next one gets it again, and each alert is stored once.
func TestIntakeKilled(t *testing.T) {
	nc, m, reg := eventtest.NATS(t), &memory{seen: map[string]bool{}}, prometheus.NewRegistry()
	i := intake(t, nc, m, reg, 300*time.Millisecond)
	for n := range 20 {
		if err := nc.Publish("falco.error.x", []byte(alertJSON(n))); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, nc)
	batch, err := i.consumer.Fetch(10, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for msg := range batch.Messages() { // and never acknowledged
		it, err := item(msg.Data())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Put(t.Context(), []alerts.Item{it}); err != nil {
			t.Fatal(err)
		}
		taken++
	}
	defer running(t, i)()
	emptied(t, nc)
	if got := gateCounts(t, reg); taken != 10 || got["duplicate"] != 10 || got["stored"] != 10 || len(m.list) != 20 {
		t.Errorf("%d taken, counted %v, stored %d", taken, got, len(m.list))
	}
}

// TestIntakeStoreAway keeps in the stream what the store does not take.
func TestIntakeStoreAway(t *testing.T) {
	nc, m, reg := eventtest.NATS(t), &memory{seen: map[string]bool{}, err: away()}, prometheus.NewRegistry()
	i := intake(t, nc, m, reg, 5*time.Second)
	for n := range 50 {
		if err := nc.Publish("falco.error.x", []byte(alertJSON(n))); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, nc)
	stop := running(t, i)
	for deadline := time.Now().Add(eventtest.Patience); gateCounts(t, reg)["failed"] < 50; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("counted %v", gateCounts(t, reg))
		}
	}
	m.mu.Lock()
	m.err = nil
	m.mu.Unlock()
	emptied(t, nc)
	stop()
	got := gateCounts(t, reg)
	balanced(t, got)
	if got["stored"] != 50 || len(m.list) != 50 {
		t.Errorf("counted %v, stored %d", got, len(m.list))
	}
}

// TestIntakeUnstorable ends what no attempt will ever store.
func TestIntakeUnstorable(t *testing.T) {
	nc, reg := eventtest.NATS(t), prometheus.NewRegistry()
	i := intake(t, nc, &memory{seen: map[string]bool{}, err: fault.Errorf(fault.TooLarge, "too large")}, reg, 5*time.Second)
	if err := nc.Publish("falco.error.x", []byte(alertJSON(1))); err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	defer running(t, i)()
	emptied(t, nc)
	if got := gateCounts(t, reg); got["failed"] != 1 || got["received"] != 1 {
		t.Errorf("counted %v", got)
	}
}

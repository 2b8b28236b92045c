// Package chaos_test takes parts of a NATS cluster away while alerts flow from
// the gate to the correlator.
package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const (
	replicas = 3
	patience = 20 * time.Second
	byHTTP   = 400 // alerts of each scan that come by HTTP
	byNATS   = 400 // and as many that come by Falcosidekick's NATS output
)

// TestLeaderStops stops the server that leads the stream of alerts, then the one
// that leads Falcosidekick's, while both carry alerts of two scans, a tenth of
// them sent twice. What was acknowledged is in the results, each alert once.
func TestLeaderStops(t *testing.T) {
	w := newWorld(t)
	scans := []scan.Request{request(1), request(2)}
	for _, r := range scans {
		w.say(t, event.ScanStarted, r, event.Started{Request: r, Attempt: 1, At: time.Now()})
	}
	third := make(chan struct{})
	var sending errgroup.Group
	for _, r := range scans {
		sending.Go(func() error { return w.sendHTTP(t, r.ID, third) })
		sending.Go(func() error { return w.sendNATS(t, r.ID) })
	}
	<-third
	stopped := w.cluster.Leader(w.js, "ALERTS")
	w.cluster.Stop(stopped)
	time.Sleep(300 * time.Millisecond) // alerts meet a cluster of two
	w.cluster.Start(stopped)
	w.settled(t)
	w.cluster.Stop(w.cluster.Leader(w.js, falcogate.DefaultIntakeStream))
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	w.drained(t)
	for _, r := range scans {
		w.say(t, event.SandboxExited, r, event.Exited{Request: r, Attempt: 1, At: time.Now(), Sandbox: finding.Sandbox{Kind: "gvisor"}})
		w.joined(t, r.ID, byHTTP+byNATS)
	}
	// Every alert once more: nothing changes.
	revisions := w.revisions(t, scans)
	for _, r := range scans {
		for n := range byHTTP {
			if err := w.post(r.ID, n); err != nil {
				t.Fatal(err)
			}
		}
		w.joined(t, r.ID, byHTTP+byNATS)
	}
	if again := w.revisions(t, scans); !slices.Equal(again, revisions) {
		t.Errorf("revisions %v became %v by repeated alerts", revisions, again)
	}
}

// world is a gate and a correlator on a cluster.
type world struct {
	cluster *eventtest.Cluster
	js      jetstream.JetStream
	gate    *httptest.Server
	join    *correlator.Correlator
	stored  *alerts.Store
	results *results.Store
	events  *eventtest.Recorder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{cluster: eventtest.NATSCluster(t, replicas), events: &eventtest.Recorder{}}
	ctx, cancel := context.WithCancel(t.Context())
	nc := w.cluster.Connect("falconer")
	var err error
	w.js, err = jetstream.New(nc)
	must(t, err)
	eventually(t, func() error {
		w.stored, err = alerts.Open(ctx, nc, alerts.Config{Replicas: replicas, AckTimeout: 2 * time.Second})
		return err
	})
	states, err := kv.Open(ctx, nc, kv.Config{Replicas: replicas})
	must(t, err)
	w.results, err = results.Open(ctx, nc, results.Config{Replicas: replicas})
	must(t, err)
	reg := prometheus.NewRegistry()
	w.join, err = correlator.New(correlator.Deps{States: states, Alerts: w.stored, Results: w.results, Emit: w.events, Metrics: reg})
	must(t, err)
	gate, err := falcogate.New(w.stored, falcogate.Config{Timeout: 3 * time.Second}, reg)
	must(t, err)
	intake, err := falcogate.NewIntake(ctx, nc, falcogate.IntakeConfig{Subject: "falco.>", Replicas: replicas, AckWait: 2 * time.Second}, gate, reg)
	must(t, err)
	w.gate = httptest.NewServer(gate)
	notifier := alerts.NewNotifier(w.stored, function.EmitterFunc(w.deliver), time.Now, eventtest.Log(t))
	var loops sync.WaitGroup
	loops.Go(func() { _ = intake.Run(ctx) })
	loops.Go(func() { _ = notifier.Run(ctx) })
	t.Cleanup(func() {
		w.gate.Close()
		cancel()
		loops.Wait()
		must(t, w.stored.Close())
	})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually repeats what may fail while the cluster changes.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// deliver stands for the broker: it hands an event to the correlator until that
// has handled it.
func (w *world) deliver(ctx context.Context, e ce.Event) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, 5*time.Second)
		_, err := w.join.Handle(one, e)
		done()
		if err == nil || !fault.Retryable(err) || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) say(t *testing.T, typ string, r scan.Request, data any) {
	t.Helper()
	e, err := event.New(typ, "/test", string(r.ID), event.ID(typ, string(r.ID)), time.Now(), data)
	must(t, err)
	must(t, w.deliver(t.Context(), e))
}

// sendHTTP posts alerts until each is acknowledged, as no Falcosidekick would;
// every tenth twice. It closes third once a third is through.
func (w *world) sendHTTP(t *testing.T, id scan.ID, third chan struct{}) error {
	for n := range byHTTP {
		if n == byHTTP/3 && id == request(1).ID {
			close(third)
		}
		eventually(t, func() error { return w.post(id, n) })
		if n%10 == 0 {
			eventually(t, func() error { return w.post(id, n) })
		}
	}
	return nil
}

func (w *world) post(id scan.ID, n int) error {
	resp, err := http.Post(w.gate.URL, "application/json", bytes.NewReader(alert(id, n)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	switch resp.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusServiceUnavailable:
		return errors.New(string(body))
	default:
		return fmt.Errorf("the gate answered %s: %s", resp.Status, body)
	}
}

// sendNATS publishes alerts until the stream has each; every tenth twice.
func (w *world) sendNATS(t *testing.T, id scan.ID) error {
	js, err := jetstream.New(w.cluster.Connect("falcosidekick"))
	if err != nil {
		return err
	}
	publish := func(n int) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := js.Publish(ctx, "falco.error.r", alert(id, n))
			return err
		}
	}
	for n := byHTTP; n < byHTTP+byNATS; n++ {
		eventually(t, publish(n))
		if n%10 == 0 {
			eventually(t, publish(n))
		}
	}
	return nil
}

// settled waits until every stream has all its replicas up to date again.
func (w *world) settled(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		for _, name := range []string{"ALERTS", "ALERTS-CAPPED", falcogate.DefaultIntakeStream, "KV_scans", "KV_scans-due", "KV_results", "KV_runtime-reported"} {
			s, err := w.js.Stream(t.Context(), name)
			if err != nil {
				return err
			}
			peers := s.CachedInfo().Cluster.Replicas
			if len(peers) != replicas-1 {
				return fmt.Errorf("stream %s has %d peers", name, len(peers))
			}
			for _, p := range peers {
				if !p.Current || p.Offline {
					return fmt.Errorf("stream %s: %s is behind", name, p.Name)
				}
			}
		}
		return nil
	})
}

// drained waits until the gate has taken everything off Falcosidekick's stream.
func (w *world) drained(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		s, err := w.js.Stream(t.Context(), falcogate.DefaultIntakeStream)
		if err != nil {
			return err
		}
		if n := s.CachedInfo().State.Msgs; n > 0 {
			return fmt.Errorf("%d alerts are still in Falcosidekick's stream", n)
		}
		return nil
	})
}

// joined waits for a result with all alerts of a scan.
func (w *world) joined(t *testing.T, id scan.ID, want int) {
	t.Helper()
	eventually(t, func() error {
		r, err := w.results.Get(t.Context(), id)
		if err == nil && int(r.Counts.Alerts) != want {
			err = fmt.Errorf("the result of %s has %d alerts and %d duplicates, want %d", id, r.Counts.Alerts, r.Counts.Duplicates, want)
		}
		return err
	})
}

func (w *world) revisions(t *testing.T, scans []scan.Request) (list []int) {
	t.Helper()
	time.Sleep(2 * correlator.DefaultAmendAfter) // for an amendment that nothing should cause
	for _, r := range scans {
		got, err := w.results.Get(t.Context(), r.ID)
		must(t, err)
		list = append(list, got.Revision)
	}
	return list
}

func request(n int) scan.Request {
	return scan.Request{ID: scan.ID(fmt.Sprintf("%08x-0000-5000-8000-000000000000", n)), Project: "p", Manager: "npm"}
}

// alert is the n-th alert of a scan. Its uuid differs on each sending, as
// Falcosidekick's does.
func alert(id scan.ID, n int) []byte {
	return fmt.Appendf(nil, `{"uuid":"%x","rule":"rule %d","priority":"Error","hostname":"h","output":"alert %d","time":"2026-11-20T19:23:54Z",`+
		`"output_fields":{"evt.num":%d,"k8s.pod.label[falconer.dev/scan-id]":%q}}`, rand.Uint64(), n%4, n, n, id)
}

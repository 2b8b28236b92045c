package correlator_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// node is the way of an alert in one process, everything real: the gate over
// HTTP, the stores, the broker with the topology's own Triggers, the
// correlator.
type node struct {
	addr    string
	reg     *prometheus.Registry
	alerts  *alerts.Store
	results *results.Store
	broker  *broker.Broker
	join    *correlator.Correlator
}

// startNode starts a node on a directory; close ends it in good order.
func startNode(ctx context.Context, dir string, alertsConfig alerts.Config, wrap function.Decorator) (n *node, closeNode func() error, err error) {
	n = &node{reg: prometheus.NewRegistry()}
	server, err := natsd.Start(natsd.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	nc, err := server.Connect("test")
	if err != nil {
		return nil, nil, err
	}
	if n.alerts, err = alerts.Open(ctx, nc, alertsConfig); err != nil {
		return nil, nil, err
	}
	states, err := kv.Open(ctx, nc, kv.Config{})
	if err != nil {
		return nil, nil, err
	}
	if n.results, err = results.Open(ctx, nc, results.Config{}); err != nil {
		return nil, nil, err
	}
	topology, err := trigger.Load(eventing.FS)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	name := trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker}
	if n.broker, err = broker.New(ctx, broker.Config{Conn: nc, Name: name, Triggers: topology, Log: log}); err != nil {
		return nil, nil, err
	}
	if n.join, err = correlator.New(correlator.Deps{States: states, Alerts: n.alerts, Results: n.results, Emit: n.broker, Metrics: n.reg, Log: log}); err != nil {
		return nil, nil, err
	}
	joined := function.Handler(n.join)
	if wrap != nil {
		joined = wrap(joined)
	}
	for _, t := range topology.For(name) {
		for _, other := range []string{t.Subscriber.Name, t.Delivery.DeadLetter.Name} {
			n.broker.Subscribe(other, function.HandlerFunc(listen))
		}
	}
	n.broker.Subscribe(correlator.Name, joined, broker.Concurrency(64))
	if err := n.broker.Start(ctx); err != nil {
		return nil, nil, err
	}
	gate, err := falcogate.New(n.alerts, falcogate.Config{Log: log}, n.reg)
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/falco", gate)
	mux.Handle("/", serve.Ingress(map[string]function.Emitter{eventing.Namespace + "/" + eventing.Broker: n.broker}, serve.Options{Log: log}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	n.addr = ln.Addr().String()
	srv := &http.Server{Handler: mux}
	var loops sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	loops.Go(func() { _ = srv.Serve(ln) })
	loops.Go(func() {
		if err := alerts.NewNotifier(n.alerts, n.broker, time.Now, log).Run(running); err != nil {
			log.Error("notifier", "error", err)
		}
	})
	return n, func() error {
		_ = srv.Close()
		stop()
		loops.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err := n.broker.Close(closing)
		if cerr := n.alerts.Close(); err == nil {
			err = cerr
		}
		nc.Close()
		if cerr := server.Close(); err == nil {
			err = cerr
		}
		return err
	}, nil
}

// listen takes everything as it comes: the functions beside the correlator.
func listen(context.Context, ce.Event) (*ce.Event, error) { return nil, nil }

// nodeDir names the directory that a child process serves, see TestMain.
const nodeDir = "FALCONER_TEST_NODE"

// TestMain is also the child process of tests that kill one.
func TestMain(m *testing.M) {
	dir := os.Getenv(nodeDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	n, _, err := startNode(context.Background(), dir, alerts.Config{}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n.addr)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
	os.Exit(0)
}

// events yields what the broker stored.
func (n *node) events(ctx context.Context) iter.Seq2[ce.Event, error] {
	return func(yield func(ce.Event, error) bool) {
		for s, err := range n.broker.Events(ctx, broker.Query{}) {
			if !yield(s.Event, err) {
				return
			}
		}
	}
}

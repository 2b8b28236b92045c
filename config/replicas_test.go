package config_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/functions/jobwatch"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/functions/runner/jobs"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// TestEveryStoreHasItsReplicas makes the functions that need no cluster of
// Kubernetes, and opens the stores of the others, told to keep three replicas:
// no stream has fewer, and opening them again changes none.
func TestEveryStoreHasItsReplicas(t *testing.T) {
	cluster := eventtest.NATSCluster(t, 3)
	nc := cluster.Connect("test")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	deps := func(env map[string]string) serve.Deps {
		return serve.Deps{
			Context: ctx, Name: "test", Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
			Emitter: &eventtest.Recorder{}, NATS: nc, Replicas: 3, Env: func(name string) string { return env[name] },
		}
	}
	places := map[string]string{"NATS_URL": "nats://n:1", "K_SINK": "http://sink.example", "FALCONER_SOURCE_DIR": t.TempDir(), "FALCONER_FALCO_NATS_SUBJECT": "falco.>"}
	three := stream.Replicas(3)
	open := map[string]func() error{
		"falcogate":  func() error { _, err := falcogate.Service(deps(places)); return err },
		"correlator": func() error { _, err := correlator.Service(deps(places)); return err },
		"planner":    func() error { _, err := planner.Service(deps(places)); return err },
		"deadletter": func() error { _, err := deadletter.New(ctx, nc, three); return err },
		"gitlabhook": func() error { _, err := gitlabhook.OpenMemory(ctx, nc, three); return err },
		"reporter": func() error {
			_, err := reporter.NewDiscussions(ctx, nil, nc, nil, "", time.Now, three)
			return err
		},
		"branches":          func() error { _, err := heads.Open(ctx, nc, three); return err },
		"runner's queue":    func() error { _, err := jobs.OpenQueue(ctx, nc, three); return err },
		"runner's attempts": func() error { _, err := runner.OpenLedger(ctx, nc, (*results.Store)(nil), three); return err },
		"runs":              func() error { _, err := runs.Open(ctx, nc, three); return err },
		"jobwatch":          func() error { _, err := jobwatch.OpenMarks(ctx, nc, three); return err },
		"registry's logs":   func() error { _, err := fetches.Open(ctx, nc, three); return err },
		"registry's marks":  func() error { _, err := depot.OpenMarks(ctx, nc, three); return err },
		"api":               func() error { _, err := ledger.Open(ctx, js, ledger.Config{Replicas: 3}); return err },
	}
	openAll := func() {
		t.Helper()
		for name, f := range open {
			if err := f(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	openAll()
	streams := map[string]bool{}
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		streams[info.Config.Name] = true
		if info.Config.Replicas != 3 {
			t.Errorf("stream %s has %d replicas", info.Config.Name, info.Config.Replicas)
		}
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	if len(streams) != 20 {
		t.Errorf("%d streams, not 20: is one missing here? %v", len(streams), streams)
	}

	// Started again, nobody finds anything to change.
	changes, err := nc.SubscribeSync("$JS.API.STREAM.UPDATE.*")
	if err != nil {
		t.Fatal(err)
	}
	openAll()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for n, _, _ := changes.Pending(); n > 0; n-- {
		m, err := changes.NextMsg(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("asked for a change: %s %s", m.Subject, m.Data)
	}
}

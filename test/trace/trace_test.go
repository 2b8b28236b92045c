// Package trace_test follows one push through the functions on the embedded
// broker and looks at what a collector gets of it.
package trace_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/telemetry"
	"github.com/falconer-sec/falconer/pkg/telemetry/otlptest"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// want are ways through the trace of a push with one scan and one alert. Others
// are in it too: functions that are only woken, or keep accounts.
var want = []string{
	"gitlabhook POST > send repo.push > planner repo.push > send scan.requested > runner scan.requested > send scan.started > correlator scan.started",
	"gitlabhook POST > send repo.push > planner repo.push > send scan.requested > runner scan.requested > sandbox run > send falco.alert > correlator falco.alert",
	"gitlabhook POST > send repo.push > planner repo.push > send scan.requested > runner scan.requested > correlator sandbox.exited > send scan.finished > reporter scan.finished",
}

// TestOneTrace sends a push as GitLab does and expects every span that follows
// in one tree, the sensor's alert and the verdict included.
func TestOneTrace(t *testing.T) {
	c := otlptest.New(t)
	sent := telemetry.Start(telemetry.Config{Service: "falconer", Env: c.Env, Log: eventtest.Log(t)})
	chain := newChain(t, sent.Tracer())
	push, err := os.ReadFile("../../functions/gitlabhook/testdata/webhooks/push.json")
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/gitlab/webhook", bytes.NewReader(push))
	req.Header.Set("X-Gitlab-Token", "not-so-secret")
	req.Header.Set("X-Gitlab-Event", "Push Hook")
	w := httptest.NewRecorder()
	chain.hook.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	chain.wait(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := sent.Close(ctx); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	tree, err := otlptest.Tree(spans)
	if err != nil {
		t.Fatal(err)
	}
	ways := otlptest.Paths(spans)
	for _, w := range want {
		if !slices.Contains(ways, w) {
			t.Errorf("the trace does not go %s:\n%s", w, tree)
		}
	}
	for _, s := range spans {
		if s.Error != "" || s.Service != "falconer" {
			t.Errorf("%s of %q: %s", s.Name, s.Service, s.Error)
		}
		knows := strings.Contains(s.Name, "scan.") || strings.Contains(s.Name, "sandbox")
		if id := s.Attributes[function.AttrScanID]; knows && id != string(chain.verdict().ScanID) {
			t.Errorf("%s has scan ID %q, want %q", s.Name, id, chain.verdict().ScanID)
		}
	}
}

// chain is the functions on an embedded broker, with a sandbox that is acted.
type chain struct {
	hook http.Handler
	stop func()

	mu     sync.Mutex
	result finding.Result
	done   map[string]int // events that were handled, by function and type
}

func newChain(t *testing.T, tracer trace.Tracer) *chain {
	t.Helper()
	c := &chain{done: map[string]int{}}
	ctx, nc, log := t.Context(), eventtest.NATS(t), eventtest.Log(t)
	js, err := jetstream.New(nc)
	must(t, err)
	sources, err := source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep, Spool: t.TempDir()})
	must(t, err)
	stored, err := alerts.Open(ctx, nc, alerts.Config{Log: log})
	must(t, err)
	published, err := results.Open(ctx, nc, results.Config{})
	must(t, err)
	states, err := kv.Open(ctx, nc, kv.Config{})
	must(t, err)
	ledger, err := runner.OpenLedger(ctx, nc, published)
	must(t, err)
	topology, err := trigger.Load(eventing.FS)
	must(t, err)
	topology, err = topology.Without(eventing.ClusterOnly()...)
	must(t, err)
	b, err := broker.New(ctx, broker.Config{Conn: nc, Name: trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker}, Triggers: topology, Log: log})
	must(t, err)
	emit := function.TraceEmitter(tracer, b)
	join, err := correlator.New(correlator.Deps{States: states, Alerts: stored, Results: published, Emit: emit, Metrics: prometheus.NewRegistry(), Log: log})
	must(t, err)
	managers := []ecosystem.Manager{npm.Manager{}}
	mirror := func(bool) (*registry.Mirror, error) {
		return registry.New(registry.Options{Cache: t.TempDir(), Offline: true, Log: log})
	}
	for name, h := range map[string]function.Handler{
		planner.Name: &planner.Function{Planner: planner.Planner{Store: sources, Managers: managers, Rules: "rules-1", TempDir: t.TempDir()},
			Fetcher: project(t), Emitter: emit, Now: time.Now, Log: log},
		runner.Name: runner.New(runner.Deps{Sources: sources, Managers: map[string]ecosystem.Manager{"npm": npm.Manager{}}, Mirror: mirror,
			Driver: sandbox.Traced(acted{}, "acted", tracer), Kind: "acted", Alerts: alerts.Sink{Store: stored}, Emit: emit, Ledger: ledger,
			TempDir: t.TempDir(), Log: log}),
		correlator.Name: join,
		reporter.Name:   reporter.New(log, c),
		"api":           function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { return nil, nil }),
		"deadletter": function.HandlerFunc(func(_ context.Context, e ce.Event) (*ce.Event, error) {
			t.Errorf("a dead letter: %s", e)
			return nil, nil
		}),
	} {
		b.Subscribe(name, function.Chain(c.count(name, h), function.Trace(name, tracer)))
	}
	must(t, b.Start(ctx))
	running, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() { _ = alerts.NewNotifier(stored, emit, time.Now, log).Run(running) })
	c.stop = func() {
		grace, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		cancel()
		loop.Wait()
		must(t, b.Close(grace))
		must(t, stored.Close())
	}
	c.hook = function.TraceRequest(gitlabhook.Name, tracer, gitlabhook.Handler(gitlabhook.Config{Tokens: []string{"not-so-secret"}, Emitter: emit, Now: time.Now, Log: log}))
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// count notes what a handler has handled.
func (c *chain) count(name string, h function.Handler) function.Handler {
	return function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		reply, err := h.Handle(ctx, e)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done[name+" "+e.Type()]++
		return reply, err
	})
}

// Name implements reporter.Sink.
func (c *chain) Name() string { return "chain" }

// Deliver implements reporter.Sink.
func (c *chain) Deliver(_ context.Context, r reporter.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Result != nil {
		c.result = *r.Result
	}
	return nil
}

func (c *chain) verdict() finding.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// wait waits until all that a push causes has happened, then ends everything.
func (c *chain) wait(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(eventtest.Patience)
	for {
		c.mu.Lock()
		over := c.result.ScanID != "" && c.done["correlator "+event.FalcoAlert] > 0 && c.done["correlator "+event.ScanStarted] > 0 &&
			c.done["correlator "+event.SandboxExited] > 0 && c.done["reporter "+event.ScanFinished] > 0
		c.mu.Unlock()
		if over {
			c.stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("handled only %v", c.done)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// acted is a sandbox whose sensor raises one alert.
type acted struct{}

func (acted) Run(ctx context.Context, s sandbox.Spec, to sandbox.AlertSink) (sandbox.Report, error) {
	a := falco.Alert{Rule: "r", Output: "o", Priority: finding.Error, Time: time.Now(), Source: "syscall"}
	if err := to.Put(ctx, s.ScanID, []falco.Alert{a}); err != nil {
		return sandbox.Report{}, err
	}
	return sandbox.Report{SensorEvents: 1, AlertsStored: 1}, nil
}

// archives serves one archive for each push.
type archives []byte

func (a archives) Fetch(context.Context, event.Push) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(a)), nil
}

// project is an archive of an npm project without dependencies.
func project(t *testing.T) archives {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"package.json":      `{"name":"app","version":"1.0.0"}`,
		"package-lock.json": `{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0"}}}`,
	} {
		must(t, w.WriteHeader(&tar.Header{Name: filepath.Join("app", name), Mode: 0o644, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes()
}

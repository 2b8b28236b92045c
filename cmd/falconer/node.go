package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/falconer-sec/falconer/eventing"
	apifunc "github.com/falconer-sec/falconer/functions/api"
	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/answers"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/pack"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/suppress"
	"github.com/falconer-sec/falconer/pkg/telemetry"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// nodeConfig is what an embedded Falconer is made from.
type nodeConfig struct {
	dir        string // durable state
	syncAlways bool
	rulesDir   string
	cache      string // download cache
	npmCache   string // an npm cache whose content may be used; "" for none
	hosts      []string
	// gateways lead to registries of other kinds than npm's, by their kind.
	gateways map[string]func(offline bool) (registry.Gateway, error)
	archives string         // directory of source archives for pushes; "" for none
	gitlab   *gitlab.Client // where sources come from without archives; nil for none
	projects []string       // at gitlab, watched for missed pushes from the start
	parallel int            // scans at a time
	// suppressions are the operator's, and baseline says what a scan is compared
	// with; nil has what its target branch was at compared with.
	suppressions suppress.File
	baseline     func(scan.Request) *finding.Result
	limits       sandbox.Limits
	sandboxLogs  string
	// unsafeSeccomp runs installs without isolation, see pkg/sandbox/seccomp.
	unsafeSeccomp bool
	// ephemeral says that the state serves one scan and is deleted with its
	// directory and the process: npm is asked for its registries at once, and the
	// store is not shut down in good order, which takes it 0.15 s.
	ephemeral   bool
	evidence    func(scan.ID) string
	progress    func(scan.ID, string)
	reporter    function.Handler // told what scans come to; nil makes one of sinks and gitlab
	sinks       []reporter.Sink
	resultURL   string                                  // where commit statuses lead, see reporter.NewStatuses
	letters     func(function.Handler) function.Handler // wraps the dead-letter function; may be nil
	log         *slog.Logger
	environment []string
	getenv      func(string) string // for the OTEL_* variables; nil sends no telemetry
}

// node is an embedded Falconer: the functions on the embedded broker over an
// embedded JetStream.
type node struct {
	c       nodeConfig
	metrics *prometheus.Registry
	sent    *telemetry.Telemetry
	tracer  trace.Tracer
	emit    function.Emitter // the broker, with a span for each event
	server  *natsd.Server
	nc      *nats.Conn
	broker  *broker.Broker
	rules   *rules.Set
	sources source.Store
	alerts  *alerts.Store
	results *results.Store
	letters *deadletter.Store
	ledger  *ledger.Ledger
	planner planner.Planner
	join    *correlator.Correlator
	notify  *alerts.Notifier
	missed  *planner.Reconciler // nil without GitLab

	stop       context.CancelFunc
	stopAsking func() // ends what AskAhead began
	loops      sync.WaitGroup
}

// openNode opens the state and subscribes the functions. Nothing is delivered
// before start. The caller closes the node, also after a failed start.
func openNode(ctx context.Context, c nodeConfig) (n *node, err error) {
	n = &node{c: c, metrics: prometheus.NewRegistry(), stop: func() {}, stopAsking: func() {}}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.sent = telemetry.Start(telemetry.Config{Service: "falconer", Version: ownVersion(), Env: c.getenv, Metrics: n.metrics, Log: c.log})
	n.tracer = n.sent.Tracer()
	defer func() {
		if err != nil {
			n.close(context.WithoutCancel(ctx))
		}
	}()
	if n.rules, err = shipped.Load(c.rulesDir); err != nil {
		return n, err
	}
	if n.server, err = natsd.Start(natsd.Config{Dir: filepath.Join(c.dir, "jetstream"), SyncAlways: c.syncAlways, Log: c.log}); err != nil {
		return n, err
	}
	if n.nc, err = n.server.Connect("falconer"); err != nil {
		return n, err
	}
	if err = n.emptyWork(); err != nil {
		return n, err
	}
	if err = n.openState(ctx); err != nil {
		return n, err
	}
	return n, n.subscribe(ctx)
}

// work is the folder for what is unpacked and spooled.
func (n *node) work() string { return filepath.Join(n.c.dir, "falconer-work") }

// emptyWork removes what a killed process left in the work folder. The server
// is running: the state, and with it the folder, is ours alone.
func (n *node) emptyWork() error {
	if err := os.RemoveAll(n.work()); err != nil {
		return err
	}
	return os.Mkdir(n.work(), 0o700)
}

// openState opens the stores on JetStream.
func (n *node) openState(ctx context.Context) error {
	js, err := jetstream.New(n.nc)
	if err != nil {
		return err
	}
	if n.sources, err = source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep, Spool: n.work()}); err != nil {
		return err
	}
	if n.alerts, err = alerts.Open(ctx, n.nc, alerts.Config{Log: n.c.log}); err != nil {
		return err
	}
	if n.results, err = results.Open(ctx, n.nc, results.Config{}); err != nil {
		return err
	}
	if n.letters, err = deadletter.New(ctx, n.nc); err != nil {
		return err
	}
	if n.ledger, err = ledger.Open(ctx, js, ledger.Config{Keep: apifunc.Keep}); err != nil {
		return err
	}
	topology, err := trigger.Load(eventing.FS)
	if err != nil {
		return err
	}
	if topology, err = topology.Without(eventing.ClusterOnly()...); err != nil {
		return err
	}
	n.broker, err = broker.New(ctx, broker.Config{Conn: n.nc, Name: trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker},
		Triggers: topology, Log: n.c.log, Metrics: n.metrics})
	if err == nil {
		n.emit = function.TraceEmitter(n.tracer, n.broker)
	}
	return err
}

// subscribe makes the functions and gives each its place on the broker.
func (n *node) subscribe(ctx context.Context) error {
	c := n.c
	n.planner = planner.Planner{Store: n.sources, Managers: managers.All(), Rules: n.rules.Version(), TempDir: n.work(), Suppressions: c.suppressions}
	states, err := kv.Open(ctx, n.nc, kv.Config{})
	if err != nil {
		return err
	}
	if n.join, err = correlator.New(correlator.Deps{States: states, Alerts: n.alerts, Results: n.results, Emit: n.emit, Metrics: n.metrics, Log: c.log, Baseline: c.baseline}); err != nil {
		return err
	}
	run, err := n.runner(ctx)
	if err != nil {
		return err
	}
	n.notify = alerts.NewNotifier(n.alerts, n.emit, time.Now, c.log)
	report, err := n.report(ctx)
	if err != nil {
		return err
	}
	letters := n.letters.Rejecting(n.emit, time.Now)
	if c.letters != nil { // it hears of every letter itself
		letters = c.letters(n.letters)
	}
	same, err := answers.Open(ctx, n.nc)
	if err != nil {
		return err
	}
	plan := &planner.Function{Answers: same, Planner: n.planner, Fetcher: n.sourcesOfPushes(), Changes: n.changes(), Results: n.results, Emitter: n.emit, Now: time.Now, Log: c.log}
	if err := plan.Watch(ctx, n.nc, c.gitlab, c.projects); err != nil {
		return err
	}
	n.missed = plan.Missed
	meter, err := function.NewMeter(n.metrics)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name        string
		handler     function.Handler
		concurrency int
	}{
		{planner.Name, plan, 2},
		{runner.Name, run, c.parallel},
		{correlator.Name, n.join, 64}, // one that gathers late alerts holds its slot for a while
		{reporter.Name, report, 4},
		{api.Name, n.ledger, 4},
		{"deadletter", letters, 4},
	} {
		n.broker.Subscribe(f.name, function.Chain(f.handler, meter.Metrics(f.name), function.Trace(f.name, n.tracer), function.Recover()), broker.Concurrency(f.concurrency))
	}
	return nil
}

// sourcesOfPushes says where the planner takes the source of a push from; with
// nothing configured pushes become dead letters, until something is.
func (n *node) sourcesOfPushes() planner.SourceFetcher {
	f, err := planner.Sources(n.c.gitlab, n.c.archives)
	if err != nil {
		return planner.LocalArchives("")
	}
	return f
}

// report makes what tells of scans, where none is given.
func (n *node) report(ctx context.Context) (function.Handler, error) {
	c := n.c
	if c.reporter != nil || c.gitlab == nil {
		return cmp.Or[function.Handler](c.reporter, reporter.New(c.log, c.sinks...)), nil
	}
	threads, err := reporter.NewDiscussions(ctx, c.gitlab, n.nc, n.results, c.resultURL, time.Now)
	if err != nil {
		return nil, err
	}
	return reporter.New(c.log, append(slices.Clip(c.sinks), reporter.NewStatuses(c.gitlab, n.results, c.resultURL), threads)...), nil
}

// changes says what a push touched; nil without GitLab.
func (n *node) changes() planner.Comparer {
	if n.c.gitlab == nil {
		return nil
	}
	return n.c.gitlab
}

// driver makes what isolates and watches installs: gVisor, or on the user's
// explicit word the supervisor that isolates nothing.
func (n *node) driver() (d sandbox.Driver, kind string, err error) {
	if n.c.unsafeSeccomp {
		d, err = seccomp.New(seccomp.Config{Rules: n.rules, TempDir: sandboxDir(), Log: n.c.log})
		return d, "seccomp", err
	}
	d, err = gvisor.New(gvisor.Config{Rules: n.rules, Sinkhole: true, TempDir: sandboxDir(), DebugDir: n.c.sandboxLogs, Log: n.c.log})
	return d, "gvisor", err
}

// runner makes the function that runs scans.
func (n *node) runner(ctx context.Context) (*runner.Runner, error) {
	c := n.c
	driver, kind, err := n.driver()
	if err != nil {
		return nil, err
	}
	ledger, err := runner.OpenLedger(ctx, n.nc, n.results)
	if err != nil {
		return nil, err
	}
	registries := &runner.Registries{Env: c.environment, Cache: c.cache, Hosts: c.hosts, Log: c.log}
	if c.npmCache != "" {
		registries.Extra = []string{c.npmCache}
	}
	if c.ephemeral {
		n.stopAsking = registries.AskAhead()
	}
	return runner.New(runner.Deps{
		Sources: n.sources, Managers: managers.ByName(), Mirror: registries.Mirror, Gateways: c.gateways, Driver: sandbox.Traced(driver, kind, n.tracer), Kind: kind,
		Alerts: alerts.Sink{Store: n.alerts}, Emit: n.emit, Ledger: ledger, Modules: pack.Open(modulesDir(c.getenv)).Modules,
		Limits: c.limits, TempDir: n.work(), Evidence: c.evidence, Progress: c.progress, Log: c.log,
	}), nil
}

// sandboxDir is where sandboxes have their sockets: a short path, since the
// name of a Unix socket holds about a hundred bytes.
func sandboxDir() string {
	if len(os.TempDir()) > 40 {
		return "/tmp"
	}
	return ""
}

// start begins deliveries and the loops beside them.
func (n *node) start(ctx context.Context) error {
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.broker.Start(ctx); err != nil {
		return err
	}
	loops := map[string]func(context.Context) error{"correlator": n.join.Run, "notifier": n.notify.Run}
	if n.missed != nil {
		loops["reconcile"] = func(ctx context.Context) error { return n.missed.Run(ctx, planner.ReconcileEvery) }
	}
	for name, loop := range loops {
		n.loops.Go(func() {
			if err := loop(ctx); err != nil && ctx.Err() == nil {
				n.c.log.Error("a loop ended", "loop", name, "error", err)
			}
		})
	}
	return nil
}

// close ends deliveries, waiting for handlers until ctx ends, and then
// everything else, in reverse order.
func (n *node) close(ctx context.Context) error {
	var errs []error
	if n.broker != nil {
		errs = append(errs, n.broker.Close(ctx))
	}
	n.stop()
	n.stopAsking()
	n.loops.Wait()
	if n.alerts != nil {
		errs = append(errs, n.alerts.Close())
	}
	if n.nc != nil {
		n.nc.Close()
	}
	if n.server != nil && !n.c.ephemeral {
		errs = append(errs, n.server.Close())
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := n.sent.Close(flush); err != nil {
		n.c.log.Debug("traces or metrics are lost", "error", err)
	}
	return errors.Join(errs...)
}

// flushTimeout is what the collector of traces and metrics gets at the end.
const flushTimeout = 3 * time.Second

// defaultParallel is the number of scans run at a time: an install and its
// sandbox keep about two cores busy.
func defaultParallel() int { return max(1, goruntime.NumCPU()/2) }

// cacheDir is the download cache: XDG_CACHE_HOME/falconer.
func cacheDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "falconer"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "falconer"), nil
	}
	return "", fmt.Errorf("neither HOME nor XDG_CACHE_HOME is set: say where downloads are kept with --download-cache DIR")
}

package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/telemetry"
)

// sinkTimeout bounds one emission to the broker, flushTimeout what a process
// that ends gives the collector of traces and metrics.
const (
	sinkTimeout  = 15 * time.Second
	flushTimeout = 3 * time.Second
)

// besideTimeout is what runs beside the server gets to end, after the server
// has.
const besideTimeout = 10 * time.Second

// Deps is what a function's main is given to build its handler from.
type Deps struct {
	Context context.Context // ends when the process is asked to stop
	Name    string
	Env     func(string) string // os.Getenv
	Log     *slog.Logger        // JSON on standard error
	Metrics *prometheus.Registry
	Emitter function.Emitter // posts to K_SINK; every Emit fails if K_SINK is empty
	NATS    *nats.Conn       // to NATS_URL; nil if NATS_URL is empty
	// Replicas is on how many NATS servers each stream is to be kept.
	Replicas int
	Client   *http.Client // with timeout, without redirects
	Tracer   trace.Tracer // records nothing unless OTEL_EXPORTER_OTLP_ENDPOINT is set

	meter  *function.Meter
	beside *sync.WaitGroup
}

// Go runs f beside the HTTP server. f ends soon after Context; the process
// waits for it, and keeps its NATS connection until then.
func (d Deps) Go(f func()) {
	if d.beside == nil {
		go f()
		return
	}
	d.beside.Go(f)
}

// Require returns a fault.Permanent error that names what of NATS_URL and
// K_SINK (or any other variable) the function needs and was not given.
func (d Deps) Require(names ...string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return d.Env(n) != "" })
	if len(names) > 0 {
		return fault.Errorf(fault.Permanent, "not set, but needed: %s", strings.Join(names, ", "))
	}
	return nil
}

// Receiver serves a function's events, with metrics, trace and recovery around
// it.
func (d Deps) Receiver(h function.Handler) http.Handler {
	return Handler(function.Chain(h, d.meter.Metrics(d.Name), function.Trace(d.Name, d.Tracer), function.Recover()), Options{Log: d.Log})
}

// Option adjusts Main and MainHTTP.
type Option func(*Config)

// Longest says how long a function may take over one request, where the default
// of Config.WriteTimeout does not do.
func Longest(d time.Duration) Option { return func(c *Config) { c.WriteTimeout = d } }

// Main runs a function as a process of its own, as Knative Serving starts it.
// It reads PORT (default 8080), K_SINK, NATS_URL and what goes with it (see
// natsFrom), FALCONER_NATS_REPLICAS and LOG_LEVEL, serves the
// handler with metrics, trace and recovery around it, and exits with status 1
// if it can't. A handler that is an http.Handler too serves its requests
// itself.
func Main(name string, build func(Deps) (function.Handler, error), opts ...Option) {
	MainHTTP(name, func(d Deps) (http.Handler, error) {
		h, err := build(d)
		if err != nil {
			return nil, err
		}
		if own, ok := h.(http.Handler); ok {
			return own, nil
		}
		return d.Receiver(h), nil
	}, opts...)
}

// MainHTTP is Main for what takes other requests than events.
func MainHTTP(name string, build func(Deps) (http.Handler, error), opts ...Option) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, name, os.Getenv, build, opts...); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, env func(string) string, build func(Deps) (http.Handler, error), opts ...Option) error {
	d := Deps{
		Context: ctx, Name: name, Env: env, Log: logger(env("LOG_LEVEL")).With("function", name),
		Metrics: prometheus.NewRegistry(), Client: NewClient(sinkTimeout),
	}
	d.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	sent := telemetry.Start(telemetry.Config{Service: name, Instance: env("HOSTNAME"), Env: env, Metrics: d.Metrics, Log: d.Log})
	defer flush(sent, d.Log)
	d.Tracer = sent.Tracer()
	d.Emitter = &Sink{URL: env("K_SINK"), Client: d.Client}
	if env("K_SINK") == "" {
		d.Emitter = function.EmitterFunc(noSink)
	}
	d.Emitter = function.TraceEmitter(d.Tracer, d.Emitter)
	var err error
	if d.Replicas, err = replicas(env); err != nil {
		return err
	}
	if env("NATS_URL") != "" {
		c, err := natsFrom(env, name, d.Log)
		if err != nil {
			return err
		}
		nc, err := c.connect(ctx)
		if err != nil {
			return err
		}
		defer nc.Close()
		d.NATS = nc
	}
	meter, err := function.NewMeter(d.Metrics, event.Types()...)
	if err != nil {
		return err
	}
	d.meter, d.beside = meter, new(sync.WaitGroup)
	handler, err := build(d)
	if err != nil {
		return err
	}
	port := env("PORT")
	if port == "" {
		port = "8080"
	}
	c := Config{
		Addr: ":" + port, Handler: handler, Metrics: d.Metrics, Log: d.Log,
		Ready: func(context.Context) error { return connected(d.NATS) },
	}
	for _, o := range opts {
		o(&c)
	}
	err = Run(ctx, c)
	d.await(besideTimeout)
	return err
}

// await waits for what runs beside the server.
func (d Deps) await(most time.Duration) {
	ended := make(chan struct{})
	go func() { d.beside.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(most):
		d.Log.Warn("not everything ended in time")
	}
}

// flush sends what is left of the traces and metrics of a process that ends.
func flush(t *telemetry.Telemetry, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Debug("traces or metrics are lost", "error", err)
	}
}

func noSink(context.Context, ce.Event) error {
	return fault.Errorf(fault.Transient, "serve: K_SINK is not set, there is no broker to emit to")
}

// connected reports whether the NATS connection, if there is one, is up.
func connected(nc *nats.Conn) error {
	if nc != nil && !nc.IsConnected() {
		return fault.Errorf(fault.Transient, "not connected to NATS")
	}
	return nil
}

// NewClient returns an HTTP client with a timeout that follows no redirects: a
// redirected POST would lose its body.
func NewClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 5 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func logger(level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// Package telemetry sends a process's traces and metrics to an OpenTelemetry
// collector, by OTLP over HTTP, if the standard OTEL_* variables name one.
//
// Guarantees: without OTEL_EXPORTER_OTLP_ENDPOINT nothing is started, kept or
// sent. With it, nothing that handles an event ever waits: spans are queued in
// bounded memory and dropped where the collector does not keep up or is away,
// which is logged once a minute at most. Close sends what is queued and the
// metrics' last values, so that a function which scales to zero takes nothing
// with it; it returns within its context.
//
// The SDK and its OTLP encoding are OpenTelemetry's own. The HTTP request is
// ours: the project's HTTP exporter links gRPC, which makes a function's binary
// half as large again.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Scope names who made the spans and metrics.
const Scope = "github.com/falconer-sec/falconer"

const (
	maxQueue     = 4096            // spans waiting for the collector
	maxAttribute = 512             // bytes of an attribute's value
	batchEvery   = 2 * time.Second // how long a span waits at most
	sendTimeout  = 5 * time.Second // of one request, repetitions included
)

// Config says what to send.
type Config struct {
	Service  string              // service.name, unless OTEL_SERVICE_NAME is set
	Instance string              // service.instance.id; "" means a random one
	Version  string              // service.version; "" leaves it out
	Env      func(string) string // os.Getenv
	Metrics  prometheus.Gatherer // metrics of ours in it are sent; nil sends none
	Log      *slog.Logger        // nil discards
}

// Telemetry is the way out for spans and metrics.
type Telemetry struct {
	provider *sdk.TracerProvider // nil if no traces are sent
	metrics  *pusher             // nil if no metrics are sent
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// Start reads the OTEL_* variables and starts what they ask for. A variable it
// can't use is logged, and leaves its signal out: telemetry never keeps a
// function from running.
func Start(c Config) *Telemetry {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Telemetry{stop: func() {}}
	s, err := read(c)
	if err != nil {
		c.Log.Warn("traces and metrics are not sent", "error", err)
		return t
	}
	res := resource.NewSchemaless(s.attributes...)
	if s.traces != "" {
		exporter := otlptrace.NewUnstarted(&traceClient{sender{s, s.traces, newComplaint(c.Log, "traces")}})
		t.provider = sdk.NewTracerProvider(sdk.WithResource(res), sdk.WithRawSpanLimits(limits()),
			sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(maxQueue), sdk.WithBatchTimeout(batchEvery), sdk.WithExportTimeout(sendTimeout)))
	}
	if s.metrics != "" && c.Metrics != nil {
		t.metrics = newPusher(c.Metrics, res, sender{s, s.metrics, newComplaint(c.Log, "metrics")}, time.Now)
		var ctx context.Context
		ctx, t.stop = context.WithCancel(context.Background())
		t.done.Go(func() { t.metrics.run(ctx, s.interval) })
	}
	return t
}

// limits bounds a span: names and texts in it may come from anybody.
func limits() sdk.SpanLimits {
	l := sdk.NewSpanLimits()
	l.AttributeValueLengthLimit = maxAttribute
	return l
}

// Tracer makes spans. If none are sent it hands on the trace context it finds,
// and costs nothing else.
func (t *Telemetry) Tracer() trace.Tracer {
	if t.provider == nil {
		return noop.NewTracerProvider().Tracer(Scope)
	}
	return t.provider.Tracer(Scope)
}

// Close sends what is left and ends. It returns an error where something could
// not be sent before ctx ended.
func (t *Telemetry) Close(ctx context.Context) error {
	t.stop()
	t.done.Wait()
	var errs [2]error
	var both sync.WaitGroup
	if t.provider != nil {
		both.Go(func() { errs[0] = t.provider.Shutdown(ctx) })
	}
	if t.metrics != nil {
		both.Go(func() { errs[1] = t.metrics.push(ctx) })
	}
	both.Wait()
	return errors.Join(errs[:]...)
}

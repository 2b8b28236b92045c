package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/falconer-sec/falconer/pkg/telemetry"
	"github.com/falconer-sec/falconer/pkg/telemetry/otlptest"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func closeSoon(t *testing.T, tel *telemetry.Telemetry) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return tel.Close(ctx)
}

// TestSpans sends two spans, with what the variables add.
func TestSpans(t *testing.T) {
	c := otlptest.New(t)
	tel := telemetry.Start(telemetry.Config{Service: "gate", Version: "v1", Env: env(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/",
		"OTEL_EXPORTER_OTLP_HEADERS":  "x-key=a%20b",
		"OTEL_RESOURCE_ATTRIBUTES":    "k8s.namespace.name=falconer",
	})})
	ctx, outer := tel.Tracer().Start(t.Context(), "outer")
	_, inner := tel.Tracer().Start(ctx, "inner")
	inner.End()
	outer.End()
	if err := closeSoon(t, tel); err != nil {
		t.Fatal(err)
	}
	got, err := otlptest.Tree(c.Spans())
	if want := "outer\n  inner\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if s := c.Spans()[0]; s.Service != "gate" {
		t.Errorf("service %q", s.Service)
	}
	if h := c.Headers(); len(h) != 1 || h[0].Get("X-Key") != "a b" {
		t.Errorf("headers %v", h)
	}
}

// TestLongTextsAreCut bounds what somebody else may have chosen.
func TestLongTextsAreCut(t *testing.T) {
	c := otlptest.New(t)
	tel := telemetry.Start(telemetry.Config{Service: "gate", Env: c.Env})
	_, s := tel.Tracer().Start(t.Context(), "s", trace.WithAttributes(attribute.String("k", strings.Repeat("x", 10_000))))
	s.End()
	if err := closeSoon(t, tel); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Spans()[0].Attributes["k"]); n != 512 {
		t.Errorf("an attribute of %d bytes", n)
	}
}

// TestNothingWithoutEndpoint hands the trace context on, and sends nothing.
func TestNothingWithoutEndpoint(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"unset":    {},
		"disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		"none":     {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			tel := telemetry.Start(telemetry.Config{Service: "gate", Env: env(vars), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&log, nil))})
			parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
			_, s := tel.Tracer().Start(trace.ContextWithSpanContext(t.Context(), parent), "s")
			if s.IsRecording() || s.SpanContext().SpanID() != parent.SpanID() {
				t.Errorf("span %v", s.SpanContext())
			}
			if err := closeSoon(t, tel); err != nil || log.Len() > 0 {
				t.Errorf("%v, logged %q", err, &log)
			}
		})
	}
}

// TestWrongVariables are said, and keep nothing from running.
func TestWrongVariables(t *testing.T) {
	const on = "http://127.0.0.1:1"
	for name, vars := range map[string]map[string]string{
		"endpoint":    {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
		"protocol":    {"OTEL_EXPORTER_OTLP_ENDPOINT": on, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"interval":    {"OTEL_EXPORTER_OTLP_ENDPOINT": on, "OTEL_METRIC_EXPORT_INTERVAL": "1s"},
		"headers":     {"OTEL_EXPORTER_OTLP_ENDPOINT": on, "OTEL_EXPORTER_OTLP_HEADERS": "a=%zz"},
		"certificate": {"OTEL_EXPORTER_OTLP_ENDPOINT": on, "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"},
		"attributes":  {"OTEL_EXPORTER_OTLP_ENDPOINT": on, "OTEL_RESOURCE_ATTRIBUTES": "a=%zz"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			tel := telemetry.Start(telemetry.Config{Service: "gate", Env: env(vars), Log: slog.New(slog.NewTextHandler(&log, nil))})
			if _, s := tel.Tracer().Start(t.Context(), "s"); s.IsRecording() {
				t.Error("a span is recorded")
			}
			if err := closeSoon(t, tel); err != nil || !strings.Contains(log.String(), "OTEL_") {
				t.Errorf("%v, logged %q", err, &log)
			}
		})
	}
}

// TestMetrics sends ours only, each series with a zero before its first value.
func TestMetrics(t *testing.T) {
	c := otlptest.New(t)
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "falconer_test_total"}, []string{"kind"})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "falconer_test"})
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "falconer_test_seconds", Buckets: []float64{1, 2}})
	other := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_test"})
	reg.MustRegister(counter, gauge, histogram, other)
	tel := telemetry.Start(telemetry.Config{Service: "gate", Metrics: reg, Env: env(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_METRIC_EXPORT_INTERVAL": "100"})})
	counter.WithLabelValues("a").Add(3)
	gauge.Set(7)
	histogram.Observe(1.5)
	histogram.Observe(9)
	deadline := time.Now().Add(5 * time.Second)
	for len(c.Headers()) < 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	counter.WithLabelValues("a").Inc()
	counter.WithLabelValues("late").Inc()
	if err := closeSoon(t, tel); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{`falconer_test_total{kind="a"}`: 4, `falconer_test_total{kind="late"}`: 1, "falconer_test_seconds": 2} {
		if p, ok := c.Series(key); !ok || p.Value != want || p.First != 0 {
			t.Errorf("%s is %+v, want %v after a zero", key, p, want)
		}
	}
	if p, _ := c.Series("falconer_test"); p.Value != 7 || p.First != 7 {
		t.Errorf("gauge %+v", p)
	}
	if _, ok := c.Series("go_test"); ok {
		t.Error("a metric of the runtime was pushed")
	}
}

// TestCollectorAway says so once, waits for nothing and ends in time.
func TestCollectorAway(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, url := range map[string]string{"refused": "http://127.0.0.1:1", "silent": "http://" + silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			tel := telemetry.Start(telemetry.Config{Service: "gate", Env: env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url})})
			begin := time.Now()
			for range 20_000 { // more than the queue takes
				_, s := tel.Tracer().Start(t.Context(), "s")
				s.End()
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("20,000 spans took %s", took)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_ = tel.Close(ctx)
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("ended after %s", took)
			}
		})
	}
}

// TestCollectorBusy is asked again.
func TestCollectorBusy(t *testing.T) {
	c := otlptest.New(t)
	c.Fail(http.StatusServiceUnavailable)
	tel := telemetry.Start(telemetry.Config{Service: "gate", Env: c.Env})
	_, s := tel.Tracer().Start(t.Context(), "s")
	s.End()
	go func() {
		for len(c.Headers()) == 0 {
			time.Sleep(time.Millisecond)
		}
		c.Fail(0)
	}()
	if err := closeSoon(t, tel); err != nil {
		t.Fatal(err)
	}
	if len(c.Spans()) != 1 || len(c.Headers()) != 2 {
		t.Errorf("%d spans in %d requests", len(c.Spans()), len(c.Headers()))
	}
}

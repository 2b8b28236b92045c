package sandbox

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// Traced gives each run of a driver a span, with what the sensor saw and how
// much of the run it missed. Alerts are stored within it.
func Traced(d Driver, kind string, tracer trace.Tracer) Driver {
	return &traced{d, kind, tracer}
}

type traced struct {
	driver Driver
	kind   string
	tracer trace.Tracer
}

var _ Taker = (*traced)(nil)

// TakesPrepared implements Taker.
func (t *traced) TakesPrepared() bool { return TakesPrepared(t.driver) }

var _ Equipped = (*traced)(nil)

// Equipped implements Equipped.
func (t *traced) Equipped(r ecosystem.Recipe) error {
	if e, ok := t.driver.(Equipped); ok {
		return e.Equipped(r)
	}
	return nil
}

// Run implements Driver.
func (t *traced) Run(ctx context.Context, s Spec, alerts AlertSink) (Report, error) {
	ctx, span := t.tracer.Start(ctx, "sandbox run", trace.WithAttributes(
		attribute.String("falconer.scan_id", string(s.ScanID)), attribute.String("falconer.sandbox", t.kind)))
	defer span.End()
	r, err := t.driver.Run(ctx, s, alerts)
	if err != nil {
		span.SetStatus(codes.Error, "the sandbox could not be set up")
		return r, err
	}
	span.SetAttributes(Measures(r.SensorEvents, r.SensorDropped, r.AlertsStored, len(r.Incomplete))...)
	return r, nil
}

// Measures are a run's figures as attributes of its span.
func Measures(events, dropped, alerts int64, incomplete int) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("falconer.sensor_events", events), attribute.Int64("falconer.sensor_dropped", dropped),
		attribute.Int64("falconer.alerts_stored", alerts), attribute.Int("falconer.incomplete", incomplete),
	}
}

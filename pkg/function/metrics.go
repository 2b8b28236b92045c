package function

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// OtherType is the type label of events whose type was not announced: a sender
// must not be able to make a time series for each event.
const OtherType = "other"

// Meter counts what functions do, by function and event type. One Meter serves
// all functions of a process.
type Meter struct {
	received *prometheus.CounterVec
	handled  *prometheus.CounterVec
	failed   *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	types    map[string]bool
}

// NewMeter registers the function metrics with reg. Events of the given types
// are counted under their type, all others under OtherType.
func NewMeter(reg prometheus.Registerer, types ...string) (*Meter, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "falconer", Subsystem: "function", Name: name, Help: help}, labels)
	}
	m := &Meter{
		received: counter("received_total", "Events handed to the function.", "function", "type"),
		handled:  counter("handled_total", "Events the function handled without error.", "function", "type"),
		failed:   counter("failed_total", "Events the function answered with an error, by its kind.", "function", "type", "kind"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "falconer", Subsystem: "function", Name: "duration_seconds",
			Help:    "Time the function took for an event.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300, 1800},
		}, []string{"function", "type"}),
		types: make(map[string]bool, len(types)),
	}
	for _, t := range types {
		m.types[t] = true
	}
	for _, c := range []prometheus.Collector{m.received, m.handled, m.failed, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, fault.New("function: register metrics", fault.Permanent, err)
		}
	}
	return m, nil
}

// Metrics counts and times the calls of the named function. Received always
// equals handled plus failed once nothing is in flight, if Recover is inside.
func (m *Meter) Metrics(name string) Decorator {
	return func(h Handler) Handler {
		return HandlerFunc(func(ctx context.Context, e event.Event) (*event.Event, error) {
			typ := m.label(e.Type())
			m.received.WithLabelValues(name, typ).Inc()
			start := time.Now()
			reply, err := h.Handle(ctx, e)
			m.seconds.WithLabelValues(name, typ).Observe(time.Since(start).Seconds())
			if err != nil {
				m.failed.WithLabelValues(name, typ, fault.KindOf(err).String()).Inc()
			} else {
				m.handled.WithLabelValues(name, typ).Inc()
			}
			return reply, err
		})
	}
}

func (m *Meter) label(typ string) string {
	if m.types[typ] {
		return typ
	}
	return OtherType
}

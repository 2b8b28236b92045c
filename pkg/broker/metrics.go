package broker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// metrics are the broker's. Labels are bounded: Triggers and outcomes only.
type metrics struct {
	emitted   *prometheus.CounterVec
	delivered *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	backlog   *prometheus.GaugeVec
	bytes     prometheus.Gauge
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, b trigger.Broker) (*metrics, error) {
	labels := prometheus.Labels{"broker": b.Namespace + "/" + b.Name}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "falconer", Subsystem: "broker", Name: name, Help: help, ConstLabels: labels}
	}
	m := &metrics{
		emitted: prometheus.NewCounterVec(prometheus.CounterOpts(opts("emitted_total",
			"Events offered to the broker: stored (or known), full, or refused.")), []string{"result"}),
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts(opts("deliveries_total",
			"Attempts to deliver by what became of them: delivered, retried, dead (taken by the dead-letter sink), undead (refused by it).")), []string{"trigger", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "falconer", Subsystem: "broker", Name: "handler_seconds", ConstLabels: labels,
			Help:    "Time a subscriber took for an event.",
			Buckets: []float64{.0005, .001, .005, .025, .1, .5, 2.5, 10, 60, 300, 1800},
		}, []string{"trigger"}),
		backlog: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("backlog",
			"Events that the trigger has yet to see or to settle.")), []string{"trigger"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts(opts("stored_bytes", "Size of the event log."))),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.emitted, m.delivered, m.seconds, m.backlog, m.bytes} {
		if err := reg.Register(c); err != nil {
			return nil, fault.New("broker: register metrics", fault.Permanent, err)
		}
	}
	return m, nil
}

func (m *metrics) emission(err error) {
	switch {
	case err == nil:
		m.emitted.WithLabelValues("stored").Inc()
	case errors.Is(err, ErrFull):
		m.emitted.WithLabelValues("full").Inc()
	default:
		m.emitted.WithLabelValues("refused").Inc()
	}
}

func (m *metrics) delivery(trigger, outcome string) {
	m.delivered.WithLabelValues(trigger, outcome).Inc()
}

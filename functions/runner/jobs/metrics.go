package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Metrics are the queue's. A nil one measures nothing.
type Metrics struct {
	waiting, slots                prometheus.Gauge
	started, superseded, rejected prometheus.Counter
	delay                         prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "falconer", Subsystem: "runner", Name: name, Help: help}
	}
	m := &Metrics{
		waiting:    prometheus.NewGauge(prometheus.GaugeOpts(opts("scans_queued", "Scans that wait for a sandbox, as this process saw it last."))),
		slots:      prometheus.NewGauge(prometheus.GaugeOpts(opts("scans_running", "Scans that have a sandbox, as this process saw it last."))),
		started:    prometheus.NewCounter(prometheus.CounterOpts(opts("scans_started_total", "Jobs started."))),
		superseded: prometheus.NewCounter(prometheus.CounterOpts(opts("scans_superseded_total", "Scans given up for a newer commit."))),
		rejected:   prometheus.NewCounter(prometheus.CounterOpts(opts("scans_refused_total", "Queued scans that could never be started."))),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "falconer", Subsystem: "runner", Name: "request_to_job_seconds", Help: "Time from queueing a request to its Job.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600},
		}),
	}
	for _, c := range []prometheus.Collector{m.waiting, m.slots, m.started, m.superseded, m.rejected, m.delay} {
		if err := reg.Register(c); err != nil {
			return nil, fault.New("runner: register metrics", fault.Permanent, err)
		}
	}
	return m, nil
}

// observe notes the queue's length.
func (m *Metrics) observe(s state) {
	if m == nil {
		return
	}
	wait, slots := s.count()
	m.waiting.Set(float64(wait))
	m.slots.Set(float64(slots))
}

// begun counts a Job and how long it was waited for.
func (m *Metrics) begun(after time.Duration) {
	if m != nil {
		m.started.Inc()
		m.delay.Observe(after.Seconds())
	}
}

// gaveUp counts a scan that left the queue without a sandbox's end.
func (m *Metrics) gaveUp(superseded bool) {
	switch {
	case m == nil:
	case superseded:
		m.superseded.Inc()
	default:
		m.rejected.Inc()
	}
}

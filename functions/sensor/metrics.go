package sensor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
)

type counters struct {
	sessions prometheus.Gauge
	records  prometheus.Counter
	reports  *prometheus.CounterVec
}

func newCounters(reg prometheus.Registerer) (*counters, error) {
	c := &counters{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "falconer", Subsystem: "sensor", Name: "sessions", Help: "Sandboxes whose trace session is read now."}),
		records:  prometheus.NewCounter(prometheus.CounterOpts{Namespace: "falconer", Subsystem: "sensor", Name: "records_total", Help: "Records read, of whatever pod."}),
		reports:  prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "falconer", Subsystem: "sensor", Name: "reports_total", Help: "Scans reported, by whether they were lost from sight."}, []string{"lost"}),
	}
	if reg == nil {
		return c, nil
	}
	for _, m := range []prometheus.Collector{c.sessions, c.records, c.reports} {
		if err := reg.Register(m); err != nil {
			return nil, fault.New("sensor: register metrics", fault.Permanent, err)
		}
	}
	return c, nil
}

package correlator

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// counters account for every stored alert, once its place is final.
type counters struct {
	joined, duplicate, unmatched, rejoined, refused, runtime, lost, again prometheus.Counter
	finished, amended                                                     *prometheus.CounterVec
	delay                                                                 prometheus.Histogram
}

func newCounters(reg prometheus.Registerer) (*counters, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "falconer", Subsystem: "correlator", Name: name + "_total", Help: help}
	}
	c := &counters{
		joined:    prometheus.NewCounter(opts("alerts_joined", "Alerts in the results of scans.")),
		duplicate: prometheus.NewCounter(opts("alerts_duplicate", "Stored alerts whose content was stored before.")),
		unmatched: prometheus.NewCounter(opts("alerts_unmatched", "Stored alerts that belong to no known scan.")),
		rejoined:  prometheus.NewCounter(opts("alerts_rejoined", "Unmatched alerts whose scan turned up after all.")),
		refused:   prometheus.NewCounter(opts("alerts_refused", "Stored alerts of scans that were rejected.")),
		runtime:   prometheus.NewCounter(opts("runtime_alerts", "Runtime alerts emitted: unmatched ones, each content once.")),
		lost:      prometheus.NewCounter(opts("scans_lost", "Scans that never reported their end.")),
		again:     prometheus.NewCounter(opts("scans_again", "Scans requested once more, since they were not watched to their end.")),
		finished:  prometheus.NewCounterVec(opts("scans_finished", "Results, by verdict."), []string{"verdict"}),
		amended:   prometheus.NewCounterVec(opts("scans_amended", "Amended results, by verdict."), []string{"verdict"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "falconer", Subsystem: "correlator", Name: "join_seconds",
			Help:    "Time from storing an alert to joining it to its scan.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .5, 1, 5, 30},
		}),
	}
	for _, m := range []prometheus.Collector{c.joined, c.duplicate, c.unmatched, c.rejoined, c.refused, c.runtime, c.lost, c.again, c.finished, c.amended, c.delay} {
		if err := reg.Register(m); err != nil {
			return nil, fault.New("correlator: register metrics", fault.Permanent, err)
		}
	}
	return c, nil
}

// result counts what a stored result adds to the one before it.
func (c *counters) result(prev *finding.Result, next finding.Result) {
	if prev == nil {
		prev = &finding.Result{}
		c.finished.WithLabelValues(string(next.Verdict)).Inc()
	} else {
		c.amended.WithLabelValues(string(next.Verdict)).Inc()
	}
	c.joined.Add(float64(max(0, next.Counts.Alerts-prev.Counts.Alerts)))
	c.duplicate.Add(float64(max(0, next.Counts.Duplicates-prev.Counts.Duplicates)))
}

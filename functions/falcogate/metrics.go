package falcogate

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// counters account for every alert that came in.
type counters struct {
	received, stored, duplicate, capped, failed prometheus.Counter
	rejected                                    *prometheus.CounterVec
}

func newCounters(reg prometheus.Registerer) (*counters, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "falconer", Subsystem: "gate", Name: name + "_total", Help: help}
	}
	c := &counters{
		received:  prometheus.NewCounter(opts("alerts_received", "Alerts that came in, and requests that held none.")),
		stored:    prometheus.NewCounter(opts("alerts_stored", "Alerts durably stored.")),
		duplicate: prometheus.NewCounter(opts("alerts_duplicate", "Alerts that were stored before.")),
		capped:    prometheus.NewCounter(opts("alerts_capped", "Alerts over the limit for their scan and rule.")),
		failed:    prometheus.NewCounter(opts("alerts_failed", "Alerts that the store did not take.")),
		rejected:  prometheus.NewCounterVec(opts("alerts_rejected", "What was not an alert, by reason."), []string{"reason"}),
	}
	for _, m := range []prometheus.Collector{c.received, c.stored, c.duplicate, c.capped, c.failed, c.rejected} {
		if err := reg.Register(m); err != nil {
			return nil, fault.New("falcogate: register metrics", fault.Permanent, err)
		}
	}
	return c, nil
}

func (c *counters) outcome(o alerts.Outcome) {
	switch o.Status {
	case alerts.Stored:
		c.stored.Inc()
	case alerts.Duplicate:
		c.duplicate.Inc()
	case alerts.Capped:
		c.capped.Inc()
	default:
		c.failed.Inc()
	}
}

// refusal is an error with the metric label that it is counted under.
type refusal struct {
	reason string // one of a fixed few: a sender can't make time series
	err    error
}

func (r *refusal) Error() string { return "falcogate: " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(reason string, err error) error { return &refusal{reason: reason, err: err} }

// reject counts an error and returns it.
func (g *Gate) reject(err error) error {
	reason := "malformed"
	var r *refusal
	if errors.As(err, &r) {
		reason = r.reason
	}
	g.count.rejected.WithLabelValues(reason).Inc()
	return err
}

package depot

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// counters are the service's metrics; labels are bounded.
type counters struct {
	requests *prometheus.CounterVec // by purpose
	refused  *prometheus.CounterVec // by purpose and kind
	bytes    *prometheus.CounterVec // by purpose
	opened   prometheus.Counter
	flushed  *prometheus.CounterVec // by outcome
}

func newCounters(reg prometheus.Registerer) (*counters, error) {
	name := func(n, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "falconer", Subsystem: "registry", Name: n, Help: help}
	}
	c := &counters{
		requests: prometheus.NewCounterVec(name("requests_total", "Requests with a genuine ticket."), []string{"purpose"}),
		refused:  prometheus.NewCounterVec(name("refused_total", "Requests refused, by the kind of reason."), []string{"purpose", "kind"}),
		bytes:    prometheus.NewCounterVec(name("sent_bytes_total", "Bytes of answers."), []string{"purpose"}),
		opened:   prometheus.NewCounter(name("scans_opened_total", "Scans whose lockfile was read.")),
		flushed:  prometheus.NewCounterVec(name("log_writes_total", "Logs of fetches written, by outcome."), []string{"outcome"}),
	}
	if reg == nil {
		return c, nil
	}
	var errs []error
	for _, m := range []prometheus.Collector{c.requests, c.refused, c.bytes, c.opened, c.flushed} {
		errs = append(errs, reg.Register(m))
	}
	return c, fault.New("depot: metrics", fault.Permanent, errors.Join(errs...))
}

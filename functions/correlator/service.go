package correlator

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// Service makes the correlator as a process of its own. It reads
//
//	FALCONER_CORRELATOR_SETTLE  how long after a sandbox's exit alerts may be on
//	                            their way, a duration such as "3s"
//
// and needs NATS_URL and K_SINK.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	var settle time.Duration
	if s := d.Env("FALCONER_CORRELATOR_SETTLE"); s != "" {
		var err error
		if settle, err = time.ParseDuration(s); err != nil {
			return nil, fault.New("correlator: FALCONER_CORRELATOR_SETTLE", fault.Permanent, err)
		}
	}
	store, err := alerts.Open(d.Context, d.NATS, alerts.Config{Replicas: d.Replicas, Guest: true, Log: d.Log})
	if err != nil {
		return nil, err
	}
	states, err := kv.Open(d.Context, d.NATS, kv.Config{Replicas: d.Replicas})
	if err != nil {
		return nil, err
	}
	published, err := results.Open(d.Context, d.NATS, results.Config{Replicas: d.Replicas})
	if err != nil {
		return nil, err
	}
	c, err := New(Deps{States: states, Alerts: store, Results: published, Emit: d.Emitter, Settle: settle, Metrics: d.Metrics, Log: d.Log})
	if err != nil {
		return nil, err
	}
	go func() { _ = c.Run(d.Context) }() // its errors are logged, it returns none
	return c, nil
}

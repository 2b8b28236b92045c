package gitlabhook

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// TokenVariable names the environment variable with the accepted tokens; with
// _FILE appended, the one with the name of a file that holds them.
const TokenVariable = "FALCONER_GITLAB_WEBHOOK_TOKEN"

// Service makes the function as a process of its own. It takes webhooks on any
// path, and needs TokenVariable and K_SINK.
func Service(d serve.Deps) (http.Handler, error) {
	if err := d.Require("K_SINK"); err != nil {
		return nil, err
	}
	tokens, err := secret.Tokens(d.Env, TokenVariable)
	if err != nil {
		return nil, fault.New("gitlabhook", fault.Permanent, err)
	}
	if len(tokens) == 0 {
		return nil, fault.Errorf(fault.Permanent, "neither %s nor %s_FILE is set: every webhook would be refused", TokenVariable, TokenVariable)
	}
	h := Handler(Config{Tokens: tokens, Emitter: d.Emitter, Now: time.Now, Log: d.Log, Count: Counter(d.Metrics)})
	return function.TraceRequest(d.Name, d.Tracer, h), nil
}

// Counter registers falconer_gitlab_webhooks_total and returns a Config.Count
// for it.
func Counter(reg prometheus.Registerer) func(Outcome) {
	hooks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "falconer_gitlab_webhooks_total", Help: "Webhooks by what became of them."}, []string{"outcome"})
	reg.MustRegister(hooks)
	return func(o Outcome) { hooks.WithLabelValues(string(o)).Inc() }
}

package gitlabhook

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Names of the environment variables with the accepted tokens and signing keys;
// with _FILE appended, those with the name of a file that holds them.
const (
	TokenVariable = "FALCONER_GITLAB_WEBHOOK_TOKEN"
	KeyVariable   = "FALCONER_GITLAB_WEBHOOK_SIGNING_KEY"
)

// Service makes the function as a process of its own. It takes webhooks on any
// path, and needs K_SINK and TokenVariable or KeyVariable or both. Signed
// webhooks are remembered in NATS, where NATS_URL is set, else in the process.
func Service(d serve.Deps) (http.Handler, error) {
	if err := d.Require("K_SINK"); err != nil {
		return nil, err
	}
	c, err := Secrets(d.Env)
	if err != nil {
		return nil, err
	}
	if len(c.Tokens)+len(c.Keys) == 0 {
		return nil, fault.Errorf(fault.Permanent, "neither %s nor %s (nor one of them with _FILE) is set: every webhook would be refused", TokenVariable, KeyVariable)
	}
	c.Emitter, c.Now, c.Log, c.Count = d.Emitter, time.Now, d.Log, Counter(d.Metrics)
	c.Memory = NewLocalMemory(time.Now)
	if d.NATS != nil && len(c.Keys) > 0 {
		if c.Memory, err = OpenMemory(d.Context, d.NATS, stream.Replicas(d.Replicas)); err != nil {
			return nil, err
		}
	}
	return function.TraceRequest(d.Name, d.Tracer, Handler(c)), nil
}

// Secrets reads tokens and signing keys from the environment into a Config that
// is otherwise empty.
func Secrets(getenv func(string) string) (c Config, err error) {
	if c.Tokens, err = secret.Tokens(getenv, TokenVariable); err != nil {
		return c, fault.New("gitlabhook", fault.Permanent, err)
	}
	keys, err := secret.Tokens(getenv, KeyVariable)
	if err != nil {
		return c, fault.New("gitlabhook", fault.Permanent, err)
	}
	for _, k := range keys {
		key, err := ParseSigningKey(k)
		if err != nil {
			return c, fault.New(KeyVariable, fault.Permanent, err)
		}
		c.Keys = append(c.Keys, key)
	}
	return c, nil
}

// Counter registers falconer_gitlab_webhooks_total and returns a Config.Count
// for it.
func Counter(reg prometheus.Registerer) func(Outcome) {
	hooks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "falconer_gitlab_webhooks_total", Help: "Webhooks by what became of them."}, []string{"outcome"})
	reg.MustRegister(hooks)
	return func(o Outcome) { hooks.WithLabelValues(string(o)).Inc() }
}

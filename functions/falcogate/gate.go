// Package falcogate is where Falco's alerts come in: Falcosidekick's
// CloudEvents output (binary, structured, batch) and its webhook output (one
// alert or a list).
//
// Guarantees: an answer of 2xx means that every alert of the request is
// durably stored, was stored before, or is counted as over its limit. What is
// not an alert is answered with 400 and one line of reason, and counted; the
// alerts beside it in a list are stored all the same. A store that is away or
// full makes 503, nothing else does. Counted in = stored + duplicate + capped
// + rejected + failed.
//
// Falcosidekick sends each alert once, whatever the answer: the gate must run
// always (min-scale 1).
package falcogate

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Defaults of Config.
const (
	DefaultMaxBody = 8 << 20
	DefaultTimeout = 10 * time.Second
)

// Config configures a Gate.
type Config struct {
	// Tokens are the bearer tokens that open the gate; several while one is
	// being replaced. None leaves the gate open to whoever reaches it.
	Tokens []string
	// SensorTokens are the bearer tokens of our own sensor. What any other sender
	// says in the sensor's fields ("falconer.*") is left out of its alerts.
	SensorTokens []string
	// AllowUnauthenticatedCloudEvents lets CloudEvents in without a token even
	// where Tokens are set: Falcosidekick's CloudEvents output can't send one.
	// Set it where the network vouches for the sender (loopback, a
	// NetworkPolicy).
	AllowUnauthenticatedCloudEvents bool
	// Certificates says that there is a TLS port too (Mutual): where no Tokens
	// are set, only a client certificate opens the gate.
	Certificates bool
	MaxBody      int64         // bytes of a request; 0 means DefaultMaxBody
	Timeout      time.Duration // for storing; 0 means DefaultTimeout
	Log          *slog.Logger  // nil discards
}

// Store is what the gate needs of the alert store. Its errors are transient,
// except for an alert that can never be stored.
type Store interface {
	Put(ctx context.Context, items []alerts.Item) ([]alerts.Outcome, error)
}

var _ Store = (*alerts.Store)(nil)

// Gate stores alerts. It is an http.Handler for any path and a
// function.Handler.
type Gate struct {
	store   Store
	cfg     Config
	tokens  tokens
	sensors tokens
	count   *counters
}

var (
	_ http.Handler     = (*Gate)(nil)
	_ function.Handler = (*Gate)(nil)
)

// New returns a Gate and registers its metrics.
func New(s Store, c Config, reg prometheus.Registerer) (*Gate, error) {
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	count, err := newCounters(reg)
	if err != nil {
		return nil, err
	}
	return &Gate{store: s, cfg: c, tokens: hashed(c.Tokens), sensors: hashed(c.SensorTokens), count: count}, nil
}

// Handle stores the alert in one CloudEvent. It replies with nothing.
func (g *Gate) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	g.count.received.Inc()
	it, err := text{raw: e.Data(), event: &sender{e.Type(), e.Source()}}.item()
	if err != nil {
		return nil, g.reject(err)
	}
	return nil, g.put(function.WithTraceparent(ctx, event.Extension(e, event.ExtTraceparent)), []alerts.Item{it})
}

// put stores items and counts what became of them.
func (g *Gate) put(ctx context.Context, items []alerts.Item) error {
	if len(items) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	outcomes, err := g.store.Put(ctx, items)
	for _, o := range outcomes {
		g.count.outcome(o)
	}
	if err != nil && fault.Retryable(err) {
		// Without the deadline's own error: that would become a 504.
		return fault.Errorf(fault.Transient, "falcogate: the alert store does not answer: %v", err)
	}
	return err
}

// item decodes an alert and keeps its text, unless that holds what only our own
// sensor may say: an alert in another's name must not name scan, package or
// script by fields that are believed without looking further.
func item(raw []byte) (alerts.Item, error) {
	it, err := sensorItem(raw)
	for name := range it.Alert.Fields {
		if strings.HasPrefix(name, falco.FieldPrefix) {
			delete(it.Alert.Fields, name)
			it.Raw = nil // encoded anew
		}
	}
	return it, err
}

// sensorItem decodes an alert of our own sensor.
func sensorItem(raw []byte) (alerts.Item, error) {
	a, err := falco.Decode(raw)
	return alerts.Item{Alert: a, Raw: raw}, err
}

// sender is what a CloudEvent says of itself.
type sender struct{ typ, source string }

// check accepts the type and the sources that Falcosidekick uses. Its versions
// 2.25 and 2.26 send Falco's own source ("syscall", a plugin's name) in place of
// theirs: the alert then says the same.
func (s sender) check(a falco.Alert) error {
	if s.typ != event.FalcoRuleOutput {
		return refused("type", fault.Errorf(fault.Invalid, "event type %.80q is not %s", s.typ, event.FalcoRuleOutput))
	}
	if s.source != "https://falco.org" && s.source != "falco.org" && (s.source == "" || s.source != a.Source) {
		return refused("source", fault.Errorf(fault.Invalid, "event source %.80q is neither https://falco.org nor the alert's", s.source))
	}
	return nil
}

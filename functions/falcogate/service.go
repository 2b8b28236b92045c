package falcogate

import (
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "falcogate"

// Service makes the gate and its notifier as a process of their own. It reads
//
//	FALCONER_FALCO_TOKEN             bearer tokens, separated by white space (or FALCONER_FALCO_TOKEN_FILE)
//	FALCONER_FALCO_OPEN_CLOUDEVENTS  "true" lets CloudEvents in without a token
//
// and needs NATS_URL and K_SINK.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	list, err := secret.Tokens(d.Env, "FALCONER_FALCO_TOKEN")
	if err != nil {
		return nil, err
	}
	store, err := alerts.Open(d.Context, d.NATS, alerts.Config{Log: d.Log})
	if err != nil {
		return nil, err
	}
	open, err := OpenCloudEvents(d.Env)
	if err != nil {
		return nil, err
	}
	g, err := New(store, Config{Tokens: list, Log: d.Log, AllowUnauthenticatedCloudEvents: open}, d.Metrics)
	if err != nil {
		return nil, err
	}
	notifier := alerts.NewNotifier(store, d.Emitter, time.Now, d.Log)
	go func() { _ = notifier.Run(d.Context) }() // its errors are logged, it returns none
	return g, nil
}

// OpenCloudEvents reads FALCONER_FALCO_OPEN_CLOUDEVENTS. What is neither true
// nor false is a fault.Permanent error: the gate must not be opened, nor kept
// closed, by a slip of the pen.
func OpenCloudEvents(env func(string) string) (bool, error) {
	text := env("FALCONER_FALCO_OPEN_CLOUDEVENTS")
	if text == "" {
		return false, nil
	}
	open, err := strconv.ParseBool(text)
	if err != nil {
		return false, fault.Errorf(fault.Permanent, "FALCONER_FALCO_OPEN_CLOUDEVENTS is %.20q, neither true nor false", text)
	}
	return open, nil
}

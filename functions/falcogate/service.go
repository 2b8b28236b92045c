package falcogate

import (
	"os"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "falcogate"

// Service makes the gate and its notifier as a process of their own. It reads
//
//	FALCONER_GATE_TOKENS            bearer tokens, separated by commas
//	FALCONER_GATE_TOKENS_FILE       or a file with one a line
//	FALCONER_GATE_OPEN_CLOUDEVENTS  "true" lets CloudEvents in without a token
//
// and needs NATS_URL and K_SINK.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	list, err := readTokens(d.Env)
	if err != nil {
		return nil, err
	}
	store, err := alerts.Open(d.Context, d.NATS, alerts.Config{Log: d.Log})
	if err != nil {
		return nil, err
	}
	g, err := New(store, Config{Tokens: list, Log: d.Log, AllowUnauthenticatedCloudEvents: d.Env("FALCONER_GATE_OPEN_CLOUDEVENTS") == "true"}, d.Metrics)
	if err != nil {
		return nil, err
	}
	notifier := alerts.NewNotifier(store, d.Emitter, time.Now, d.Log)
	go func() { _ = notifier.Run(d.Context) }() // its errors are logged, it returns none
	return g, nil
}

func readTokens(env func(string) string) ([]string, error) {
	text := strings.ReplaceAll(env("FALCONER_GATE_TOKENS"), ",", "\n")
	if path := env("FALCONER_GATE_TOKENS_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.New("falcogate: read tokens", fault.Permanent, err)
		}
		text += "\n" + string(b)
	}
	return strings.Fields(text), nil
}

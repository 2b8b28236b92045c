// Package api is the scan API as a function of its own: pkg/api for requests
// below /api/v1, and the ledger of scans for events.
//
// Guarantees: those of pkg/api and pkg/api/ledger. Knative's broker keeps no
// log of events, so that here only the API's event requests are refused, with
// that reason; scans, results and dead letters are as on one machine.
package api

import (
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// Name is the function's name: its Knative Service and its event source.
const Name = api.Name

// Keep is how long the ledger remembers a scan after its last change.
const Keep = 90 * 24 * time.Hour

// Service makes the API as a process of its own. It reads
//
//	FALCONER_API_TOKEN  the accepted bearer tokens (or _FILE)
//	FALCONER_PACKAGEHUNTER_USERS  users of Package Hunter's interface (or _FILE)
//	FALCONER_SUPPRESSIONS  the operator's suppressions, a file
//	FALCONER_RULES_DIR  rules in place of the shipped ones; the same as the
//	                    runner's, since their version is part of a scan's ID
//
// and needs a token, NATS_URL and K_SINK.
func Service(d serve.Deps) (http.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	tokens, err := secret.Tokens(d.Env, "FALCONER_API_TOKEN")
	if err != nil {
		return nil, fault.New("api", fault.Permanent, err)
	}
	if len(tokens) == 0 {
		return nil, fault.Errorf(fault.Permanent, "neither FALCONER_API_TOKEN nor FALCONER_API_TOKEN_FILE is set: every request would be refused")
	}
	from, err := open(d)
	if err != nil {
		return nil, err
	}
	if from.planner.Suppressions, err = suppress.Central(d.Env(suppress.Variable)); err != nil {
		return nil, err
	}
	c := api.Config{
		Planner: from.planner, Emitter: d.Emitter, Scans: from.scans, Results: from.results, Log: noLog{},
		Letters: Letters{Store: from.letters, To: noTriggers{}, Emit: d.Emitter},
		Access:  api.Access{Tokens: tokens}, Now: time.Now, Slog: d.Log, Stop: d.Context.Done(),
	}
	mux := http.NewServeMux()
	mux.Handle(api.Prefix+"/", function.TraceRequest(d.Name, d.Tracer, api.New(c)))
	mux.Handle(api.PagePattern, api.Page(c))
	mux.Handle("/{$}", d.Receiver(from.scans))
	return mux, packageHunter(mux, d, from)
}

// stores is the state behind the API.
type stores struct {
	planner planner.Planner
	scans   *ledger.Ledger
	results *results.Store
	letters *deadletter.Store
}

// open opens everything at once: a cold start waits for it.
func open(d serve.Deps) (s stores, err error) {
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return s, fault.New("api: open JetStream", fault.Permanent, err)
	}
	g, ctx := errgroup.WithContext(d.Context)
	g.Go(func() (err error) {
		s.planner, err = planner.Open(ctx, d.NATS, d.Env("FALCONER_RULES_DIR"), stream.Replicas(d.Replicas), stream.Guest())
		return err
	})
	g.Go(func() (err error) {
		s.scans, err = ledger.Open(ctx, js, ledger.Config{Keep: Keep, Replicas: d.Replicas})
		return err
	})
	g.Go(func() (err error) {
		s.results, err = results.Open(ctx, d.NATS, results.Config{Replicas: d.Replicas, Guest: true})
		return err
	})
	g.Go(func() (err error) {
		s.letters, err = deadletter.New(ctx, d.NATS, stream.Replicas(d.Replicas), stream.Guest())
		return err
	})
	err = g.Wait()
	return s, err
}

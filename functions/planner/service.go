package planner

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Service makes the planner as a process of its own. It reads
//
//	FALCONER_SOURCE_DIR  where the sources of pushes are, see LocalArchives
//	FALCONER_RULES_DIR   rules in place of the shipped ones; the same as the
//	                     runner's, since their version is part of a scan's ID
//
// and needs FALCONER_SOURCE_DIR, NATS_URL and K_SINK.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("FALCONER_SOURCE_DIR", "NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	p, err := Open(d.Context, d.NATS, d.Env("FALCONER_RULES_DIR"))
	if err != nil {
		return nil, err
	}
	return &Function{Planner: p, Fetcher: LocalArchives(d.Env("FALCONER_SOURCE_DIR")), Emitter: d.Emitter, Now: time.Now, Log: d.Log}, nil
}

// Open makes a Planner of every package manager there is, on JetStream. rules is
// a directory of rules, "" for those shipped.
func Open(ctx context.Context, nc *nats.Conn, rules string) (Planner, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return Planner{}, fault.New("planner: open JetStream", fault.Permanent, err)
	}
	p := Planner{Managers: []ecosystem.Manager{npm.Manager{}}}
	g, ctx := errgroup.WithContext(ctx) // either takes milliseconds that a cold start has to wait for
	g.Go(func() error {
		set, err := shipped.Load(rules)
		if err == nil {
			p.Rules = set.Version()
		}
		return err
	})
	g.Go(func() (err error) {
		p.Store, err = source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep})
		return err
	})
	err = g.Wait()
	return p, err
}

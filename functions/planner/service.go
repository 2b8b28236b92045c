package planner

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/answers"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/stream"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// Service makes the planner as a process of its own. It reads
//
//	GITLAB_URL           the GitLab that sources are fetched from
//	GITLAB_TOKEN         its access token (or _FILE), scope read_api or api
//	FALCONER_GITLAB_PROJECTS  projects that are watched for missed pushes from
//	                     the start, by path
//	FALCONER_SOURCE_DIR  where the sources of pushes are instead, see LocalArchives
//	FALCONER_SUPPRESSIONS  the operator's suppressions, a file
//	FALCONER_RULES_DIR   rules in place of the shipped ones; the same as the
//	                     runner's, since their version is part of a scan's ID
//
// and needs NATS_URL, K_SINK and either GITLAB_URL or FALCONER_SOURCE_DIR.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	forge, err := gitlab.FromEnv(d.Env)
	if err != nil {
		return nil, err
	}
	fetcher, err := Sources(forge, d.Env("FALCONER_SOURCE_DIR"))
	if err != nil {
		return nil, err
	}
	p, err := Open(d.Context, d.NATS, d.Env("FALCONER_RULES_DIR"), stream.Replicas(d.Replicas))
	if err != nil {
		return nil, err
	}
	if p.Suppressions, err = suppress.Central(d.Env(suppress.Variable)); err != nil {
		return nil, err
	}
	known, err := results.Open(d.Context, d.NATS, results.Config{Replicas: d.Replicas, Guest: true})
	if err != nil {
		return nil, err
	}
	same, err := answers.Open(d.Context, d.NATS, stream.Replicas(d.Replicas))
	if err != nil {
		return nil, err
	}
	f := &Function{Planner: p, Fetcher: fetcher, Changes: comparer(forge), Results: known, Answers: same, Emitter: d.Emitter, Now: time.Now, Log: d.Log}
	return f, f.Watch(d.Context, d.NATS, forge, Projects(d.Env), stream.Replicas(d.Replicas))
}

// Watch has the function remember which scans branches were at, and how far they
// were looked at, and look for missed pushes: on the cluster's sweep, or as
// Missed.Run makes it. Without a GitLab there is nothing to look at, and Missed
// stays nil.
func (f *Function) Watch(ctx context.Context, nc *nats.Conn, forge *gitlab.Client, projects []string, opts ...stream.Option) error {
	known, err := heads.Open(ctx, nc, opts...)
	if err != nil {
		return err
	}
	f.Lines = known
	if forge == nil {
		return nil
	}
	f.Heads, f.Files = known, forge
	f.Missed = &Reconciler{Forge: forge, Heads: known, Projects: projects, Emitter: f.Emitter, Now: f.Now, Log: f.Log}
	return nil
}

// Sources says where the sources of pushes come from: a directory where one is
// given, else GitLab. Neither is fault.Permanent.
func Sources(forge *gitlab.Client, dir string) (SourceFetcher, error) {
	switch {
	case dir != "":
		return LocalArchives(dir), nil
	case forge != nil:
		return Forge{forge}, nil
	}
	return nil, fault.Errorf(fault.Permanent, "neither %s nor FALCONER_SOURCE_DIR is set: there is nowhere to take the source of a push from", gitlab.URLVariable)
}

// comparer keeps a missing client from becoming an interface that is not nil.
func comparer(forge *gitlab.Client) Comparer {
	if forge == nil {
		return nil
	}
	return forge
}

// Open makes a Planner of every package manager there is, on JetStream. rules is
// a directory of rules, "" for those shipped.
func Open(ctx context.Context, nc *nats.Conn, rules string, opts ...stream.Option) (Planner, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return Planner{}, fault.New("planner: open JetStream", fault.Permanent, err)
	}
	terms := stream.On(opts)
	p := Planner{Managers: managers.All()}
	g, ctx := errgroup.WithContext(ctx) // either takes milliseconds that a cold start has to wait for
	g.Go(func() error {
		set, err := shipped.Load(rules)
		if err == nil {
			p.Rules = set.Version()
		}
		return err
	})
	g.Go(func() (err error) {
		p.Store, err = source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep, Replicas: terms.Replicas, Guest: terms.Guest})
		return err
	})
	err = g.Wait()
	return p, err
}

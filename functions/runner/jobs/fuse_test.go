package jobs

import (
	"context"
	"errors"
	"io"
	"sync"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

// fuse makes one call to the outside fail.
type fuse struct {
	mu    sync.Mutex
	left  int  // calls until it blows; 0 for never
	after bool // the call takes effect and its answer is lost
	stays bool // every later call fails too: the process was killed
	blown bool
}

var errBlown = errors.New("the fuse has blown")

// run makes a call, or not.
func (f *fuse) run(call func() error) error {
	f.mu.Lock()
	if f.blown && f.stays {
		f.mu.Unlock()
		return errBlown
	}
	f.left--
	blow := f.left == 0
	f.blown = f.blown || blow
	f.mu.Unlock()
	if !blow {
		return call()
	}
	if f.after {
		_ = call()
	}
	return errBlown
}

// fused puts the fuse between a runner and everything outside of it.
func (f *fuse) fused(d Deps) Deps {
	d.Queue = &Queue{kv: fusedValues{f, d.Queue.kv}}
	d.Runs = fusedRuns{f, d.Runs}
	d.Ledger = fusedLedger{f, d.Ledger}
	d.Sources = fusedSources{f, d.Sources}
	d.Cluster = fusedCluster{f, d.Cluster}
	emit, address := d.Emit, d.Registry
	d.Emit = function.EmitterFunc(func(ctx context.Context, e ce.Event) error {
		return f.run(func() error { return emit.Emit(ctx, e) })
	})
	d.Registry = func(ctx context.Context) (base string, err error) {
		err = f.run(func() error { base, err = address(ctx); return err })
		return base, err
	}
	return d
}

type fusedValues struct {
	f *fuse
	values
}

func (v fusedValues) Get(ctx context.Context, key string) (e jetstream.KeyValueEntry, err error) {
	err = v.f.run(func() error { e, err = v.values.Get(ctx, key); return err })
	return e, err
}

func (v fusedValues) Put(ctx context.Context, key string, b []byte) (n uint64, err error) {
	err = v.f.run(func() error { n, err = v.values.Put(ctx, key, b); return err })
	return n, err
}

func (v fusedValues) Create(ctx context.Context, key string, b []byte, o ...jetstream.KVCreateOpt) (n uint64, err error) {
	err = v.f.run(func() error { n, err = v.values.Create(ctx, key, b, o...); return err })
	return n, err
}

func (v fusedValues) Update(ctx context.Context, key string, b []byte, at uint64) (n uint64, err error) {
	err = v.f.run(func() error { n, err = v.values.Update(ctx, key, b, at); return err })
	return n, err
}

func (v fusedValues) Purge(ctx context.Context, key string, o ...jetstream.KVDeleteOpt) error {
	return v.f.run(func() error { return v.values.Purge(ctx, key, o...) })
}

type fusedRuns struct {
	f *fuse
	Runs
}

func (s fusedRuns) Put(ctx context.Context, r runs.Run) error {
	return s.f.run(func() error { return s.Runs.Put(ctx, r) })
}

func (s fusedRuns) Get(ctx context.Context, id scan.ID) (r runs.Run, err error) {
	err = s.f.run(func() error { r, err = s.Runs.Get(ctx, id); return err })
	return r, err
}

type fusedLedger struct {
	f *fuse
	Ledger
}

func (l fusedLedger) Finished(ctx context.Context, id scan.ID) (done bool, err error) {
	err = l.f.run(func() error { done, err = l.Ledger.Finished(ctx, id); return err })
	return done, err
}

func (l fusedLedger) AttemptFor(ctx context.Context, id scan.ID, cause string) (n int, err error) {
	err = l.f.run(func() error { n, err = l.Ledger.AttemptFor(ctx, id, cause); return err })
	return n, err
}

type fusedSources struct {
	f *fuse
	source.Store
}

func (s fusedSources) Get(ctx context.Context, object string) (r io.ReadCloser, err error) {
	err = s.f.run(func() error { r, err = s.Store.Get(ctx, object); return err })
	return r, err
}

type fusedCluster struct {
	f *fuse
	Cluster
}

func (c fusedCluster) Create(ctx context.Context, s kubernetes.Spec) error {
	return c.f.run(func() error { return c.Cluster.Create(ctx, s) })
}

func (c fusedCluster) Delete(ctx context.Context, id scan.ID, attempt int) error {
	return c.f.run(func() error { return c.Cluster.Delete(ctx, id, attempt) })
}

func (c fusedCluster) List(ctx context.Context) (l []kubernetes.Listed, err error) {
	err = c.f.run(func() error { l, err = c.Cluster.List(ctx); return err })
	return l, err
}

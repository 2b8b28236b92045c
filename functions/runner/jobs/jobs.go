// Package jobs is the runner of a cluster: it turns scan requests into
// Kubernetes Jobs, as many at once as a limit allows, and returns at once.
//
//	scan.requested            → queued; a Job when a slot is free → scan.started
//	sandbox.exited            → the slot is free, the next scan starts
//	scan.rejected (by others) → the same
//	a PingSource's ping       → what was missed is made up for
//	anything else             → wakes the runner, no more
//
// Guarantees:
//   - A request is in the queue, durably, before it is acknowledged; a cluster
//     that takes no Job (a full quota, a server that is down) makes it wait, not
//     fail. It leaves the queue by scan.started and the sandbox's end, or by
//     scan.rejected with the reason, and no other way.
//   - The most urgent waiting scan starts first; of equally urgent ones, that
//     of the project with the fewest running; of these, the one that came first.
//   - A newer commit of the same project, ref, root and manager takes the place
//     of older ones, waiting or running: these are rejected and their Jobs
//     deleted.
//   - The queue is one document, changed with compare-and-set, and everything
//     that follows from a change can be done twice and is then done once: any
//     number of runners share it, and one that is killed between two steps
//     leaves what the next event, or the next ping, takes up.
package jobs

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// Limits of the queue.
const (
	// MaxWaiting is how many scans may wait; further requests are transient
	// errors, so that their sender waits.
	MaxWaiting = 2000
	// Lease is how long one runner may take to create a Job before another does
	// it once more.
	Lease = 15 * time.Second
	// SourceTicket is how long a pod has to fetch its source.
	SourceTicket = 10 * time.Minute
	// Overdue is how long after a Job's deadline its slot is taken back, should
	// nobody have told of its end.
	Overdue = 5 * time.Minute
	// RetryEvery is how often a runner that is awake looks whether a cluster
	// that took no Job does so now.
	RetryEvery = 5 * time.Second
)

// Ledger remembers scans across attempts and restarts.
type Ledger interface {
	// Finished reports whether the scan has a result that another run would not
	// better. Errors are transient.
	Finished(ctx context.Context, id scan.ID) (bool, error)
	// AttemptFor counts a run of the scan that cause asked for, and returns its
	// number, from 1: the same number for the same cause. Errors are transient.
	AttemptFor(ctx context.Context, id scan.ID, cause string) (int, error)
}

// Cluster is where Jobs run. See kubernetes.Cluster for its errors.
type Cluster interface {
	Create(ctx context.Context, s kubernetes.Spec) error
	Delete(ctx context.Context, id scan.ID, attempt int) error
	List(ctx context.Context) ([]kubernetes.Listed, error)
}

// Runs keeps the record of each scan's latest attempt. See runs.Store for its
// errors.
type Runs interface {
	Put(ctx context.Context, r runs.Run) error
	Get(ctx context.Context, id scan.ID) (runs.Run, error)
}

var (
	_ Ledger  = (*runner.JetStreamLedger)(nil)
	_ Cluster = kubernetes.Cluster{}
	_ Runs    = (*runs.Store)(nil)
)

// Deps is what the runner works with.
type Deps struct {
	Queue    *Queue
	Runs     Runs
	Ledger   Ledger
	Sources  source.Store
	Managers map[string]ecosystem.Manager
	Config   kubernetes.Config
	Cluster  Cluster
	// Registry returns the registry service's address as pods reach it, without
	// a trailing slash. Errors are transient.
	Registry func(context.Context) (string, error)
	Key      ticket.Key
	Sensor   string // event.SensorGVisor or event.SensorFalco
	Limit    int    // scans with a Job at once
	TempDir  string // "" means os.TempDir
	Emit     function.Emitter
	Metrics  *Metrics
	Now      func() time.Time
	Log      *slog.Logger
}

// Runner is the function. It is safe for concurrent use.
type Runner struct {
	d       Deps
	blocked atomic.Bool // the cluster took no Job when last asked

	mu   sync.Mutex
	busy map[scan.ID]bool // what this process is starting
}

var _ function.Handler = (*Runner)(nil)

// New makes the function.
func New(d Deps) *Runner {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{d: d, busy: map[scan.ID]bool{}}
}

// Handle implements function.Handler.
func (r *Runner) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.ScanRequested:
		return r.requested(ctx, e)
	case event.SandboxExited:
		return nil, r.exited(ctx, e)
	case event.ScanRejected:
		return nil, r.rejected(ctx, e)
	case event.Ping:
		return nil, r.sweep(ctx, identity(e))
	}
	return nil, nil
}

// Run tries again, as long as the process is awake, what a cluster refused. It
// returns when ctx ends.
func (r *Runner) Run(ctx context.Context) {
	tick := time.NewTicker(RetryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !r.blocked.Load() {
				continue
			}
			if err := r.advance(ctx, digest("retry")); err != nil {
				r.d.Log.Warn("waiting scans could not be started", "error", err)
			}
		}
	}
}

// own reserves a scan for one goroutine of this process.
func (r *Runner) own(id scan.ID) (release func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[id] {
		return nil, false
	}
	r.busy[id] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.busy, id)
	}, true
}

// identity tells an event from all others, and is the same each time it is
// delivered. IDs alone are not enough: who asks for the same scan on another
// day makes an event of the same ID.
func identity(e ce.Event) string {
	return digest(e.Source(), e.ID(), e.Time().UTC().Format(time.RFC3339Nano))
}

// Package jobwatch tells how scans' Jobs end: an ApiServerSource's events on
// Jobs, and a ping now and then, in; sandbox.exited out.
//
// Guarantees:
//   - Every attempt whose Job ended, vanished, was refused, fits on no node or
//     can't be started gets one sandbox.exited that says why in plain words. Its
//     ID follows from scan and attempt, so that a repetition is recognised.
//   - What an event did not tell, the next ping finds (Sweep): from the runs'
//     records, not only from Jobs that still exist.
//   - Only a completed install is without an entry in Incomplete.
//   - An attempt that is not its scan's latest, or that the runner gave up, gets
//     none: nobody waits for it.
//   - Nothing that the sandbox wrote decides anything. Its output is bounded in
//     bytes and lines before it is read, and is shown, not judged.
//   - An API server, a registry service or a NATS that does not answer is a
//     transient error: the event comes again.
package jobwatch

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "jobwatch"

// Times after which something that does not come is taken for an end.
const (
	// NoPodAfter: the Job has no pod, as where admission refuses it.
	NoPodAfter = time.Minute
	// NotStartedAfter: the pod fits on no node, or its image does not come.
	NotStartedAfter = 2 * time.Minute
	// NoJobAfter: the attempt has no Job. The runner writes the record first.
	NoJobAfter = 10 * time.Minute
	// NoFetchesAfter: the registry service does not say what was fetched; the
	// end is told without.
	NoFetchesAfter = 10 * time.Minute
)

// Runs has the scans' latest attempts. Get returns runs.ErrNotFound, wrapped.
type Runs interface {
	Get(ctx context.Context, id scan.ID) (runs.Run, error)
	List(ctx context.Context) ([]runs.Run, error)
}

// Fetches says what an attempt fetched. Errors are transient, or say that the
// question was refused.
type Fetches interface {
	Fetches(ctx context.Context, id scan.ID, attempt int) (fetches.Log, error)
}

// Marks remembers the attempts whose end was told. Errors are transient.
type Marks interface {
	Has(ctx context.Context, id scan.ID, attempt int) (bool, error)
	Put(ctx context.Context, id scan.ID, attempt int, what Told) error
	// All returns the attempts that are marked, as MarkKey names them.
	All(ctx context.Context) (map[string]bool, error)
}

var (
	_ Runs    = (*runs.Store)(nil)
	_ Fetches = (*fetches.Client)(nil)
	_ Marks   = (*JetStreamMarks)(nil)
)

// Deps is what jobwatch works with.
type Deps struct {
	Namespace string // of scans' Jobs; what happens in others is ignored
	Cluster   Cluster
	Runs      Runs
	Fetches   Fetches
	Marks     Marks
	Emit      function.Emitter
	Now       func() time.Time // nil means time.Now
	Log       *slog.Logger     // nil discards
	// Key is what canaries are derived from, to be kept out of logs.
	Key ticket.Key
}

// Watch is the function.
type Watch struct{ d Deps }

var _ function.Handler = (*Watch)(nil)

// New makes the function.
func New(d Deps) *Watch {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Watch{d}
}

// Handle looks at the Job that an event is about, or at all of them on a ping.
// It never replies. Other events are success and nothing: they only wake.
func (w *Watch) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	if e.Type() == event.Ping {
		return nil, w.Sweep(ctx)
	}
	n, err := decode(e)
	if err != nil || n == nil || n.namespace != w.d.Namespace {
		return nil, err
	}
	id, attempt, ok := parseName(n.name)
	if !ok {
		return nil, nil // not a scan's
	}
	if n.job == nil && !n.deleted {
		if n.job, err = w.d.Cluster.Job(ctx, n.name); errors.Is(err, ErrNoJob) {
			n.deleted, err = true, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if n.job != nil && condition(n.job) != nil {
		return nil, w.conclude(ctx, id, attempt, n.job, nil)
	}
	if n.deleted {
		return nil, w.conclude(ctx, id, attempt, n.job, vanished())
	}
	return nil, nil // it has not ended
}

// conclude tells how an attempt ended, unless that was told or nobody waits for
// it. job may be nil. end is the end where it does not follow from the Job.
func (w *Watch) conclude(ctx context.Context, id scan.ID, attempt int, job *batchv1.Job, end *ending) error {
	run, err := w.d.Runs.Get(ctx, id)
	if errors.Is(err, runs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if run.Attempt != attempt || run.GivenUp != "" {
		return nil
	}
	if told, err := w.d.Marks.Has(ctx, id, attempt); err != nil || told {
		return err
	}
	return w.tell(ctx, run, job, end)
}

// tell emits sandbox.exited and marks that.
func (w *Watch) tell(ctx context.Context, run runs.Run, job *batchv1.Job, end *ending) error {
	var seen sight
	if end == nil {
		var err error
		if seen, err = w.look(ctx, job); err != nil {
			return err
		}
		end = diagnose(job, seen)
	}
	x, err := w.exited(ctx, run, job, seen, *end)
	if err != nil {
		return err
	}
	id := run.Request.ID
	e, err := event.New(event.SandboxExited, event.Source(Name), string(id),
		event.ID(event.SandboxExited, string(id), strconv.Itoa(run.Attempt)), w.d.Now().UTC(), x)
	if err != nil {
		return err
	}
	e.SetExtension(event.ExtScanID, string(id))
	for name, value := range map[string]string{event.ExtTraceparent: run.Traceparent, "tracestate": run.Tracestate} {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	if err := w.d.Emit.Emit(ctx, e); err != nil {
		return err
	}
	w.d.Log.Info("sandbox ended", "scan_id", id, "attempt", run.Attempt, "reason", end.reason, "detail", end.detail)
	if end.remove && job != nil {
		if err := w.d.Cluster.Delete(ctx, job.Name, job.UID); err != nil {
			return err
		}
	}
	told := Told{At: w.d.Now().UTC(), Reason: end.reason}
	if job != nil {
		told.UID = string(job.UID)
		if c := condition(job); c != nil {
			told.Condition = string(c.Type)
		}
	}
	return w.d.Marks.Put(ctx, id, run.Attempt, told)
}

// parseName reads the name of a scan's Job.
func parseName(name string) (id scan.ID, attempt int, ok bool) {
	const prefix, length = kubernetes.AppName + "-", 36
	if len(name) < len(prefix)+length || name[:len(prefix)] != prefix {
		return "", 0, false
	}
	id, err := scan.ParseID(name[len(prefix) : len(prefix)+length])
	if err != nil {
		return "", 0, false
	}
	attempt = 1
	if rest := name[len(prefix)+length:]; rest != "" {
		if attempt, err = strconv.Atoi(rest[1:]); err != nil {
			return "", 0, false
		}
	}
	return id, attempt, kubernetes.JobName(id, attempt) == name
}

var errNoName = fault.Errorf(fault.Invalid, "jobwatch: the event names no Job")

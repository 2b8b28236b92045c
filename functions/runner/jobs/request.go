package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// correlator is the source of requests for another attempt.
var correlator = event.Source("correlator")

// requested queues a request and starts what can be started.
func (r *Runner) requested(ctx context.Context, e ce.Event) (*ce.Event, error) {
	req, err := event.Decode[scan.Request](e)
	if err == nil {
		err = fault.New("runner", fault.Invalid, req.Validate())
	}
	if err == nil {
		err = r.enqueue(ctx, e, req)
	}
	if err != nil {
		return r.reject(e, req, err)
	}
	return nil, r.advance(ctx, identity(e))
}

// enqueue makes sure that the request is in the queue, unless it was served
// before.
func (r *Runner) enqueue(ctx context.Context, e ce.Event, req scan.Request) error {
	known, err := r.known(ctx, e, req)
	if err != nil || known {
		return err
	}
	if done, err := r.d.Ledger.Finished(ctx, req.ID); err != nil || done {
		return err
	}
	rec, err := r.load(ctx, e, req)
	if err != nil {
		return err
	}
	attempt, err := r.d.Ledger.AttemptFor(ctx, req.ID, identity(e))
	if err != nil {
		return err
	}
	switch run, err := r.d.Runs.Get(ctx, req.ID); {
	case err == nil && run.Attempt >= attempt:
		return nil // this very event was served, and is delivered once more
	case err != nil && !errors.Is(err, runs.ErrNotFound):
		return err
	}
	if err := r.d.Queue.put(ctx, attempt, rec); err != nil {
		return err
	}
	return r.admit(ctx, e, req, attempt)
}

// known sees to a request for a scan that is in the queue.
func (r *Runner) known(ctx context.Context, e ce.Event, req scan.Request) (bool, error) {
	s, _, err := r.d.Queue.read(ctx)
	if err != nil {
		return false, err
	}
	in, cause := s.find(req.ID), identity(e)
	if in == nil {
		return false, nil
	}
	if in.Phase == dropped {
		if err := r.drop(ctx, *in); err != nil {
			return false, err
		}
		return false, nil
	}
	again := e.Source() == correlator && in.Cause != cause && in.Again == "" && in.Phase != waiting
	if again {
		if err := r.prepareAgain(ctx, e, req.ID, in.Attempt); err != nil {
			return false, err
		}
	}
	attempt, here := in.Attempt, false
	_, err = r.d.Queue.change(ctx, func(s *state) (bool, error) {
		in := s.find(req.ID)
		if here = in != nil && in.Attempt == attempt && in.Phase != dropped; !here {
			return false, nil
		}
		changed := false
		if again && in.Again == "" {
			in.Again, changed = cause, true
		}
		if in.Priority < req.Priority {
			in.Priority, changed = req.Priority, true
		}
		return changed, nil
	})
	if err == nil && !here {
		err = fault.Errorf(fault.Transient, "runner: scan %s left the queue just now", req.ID)
	}
	return true, err
}

// prepareAgain stores what the attempt after this one needs.
func (r *Runner) prepareAgain(ctx context.Context, e ce.Event, id scan.ID, attempt int) error {
	rec, err := r.d.Queue.get(ctx, id, attempt)
	if err != nil {
		return err
	}
	if _, err := r.d.Ledger.AttemptFor(ctx, id, identity(e)); err != nil {
		return err
	}
	rec.Cause = e.ID()
	rec.Traceparent, rec.Tracestate = event.Extension(e, event.ExtTraceparent), event.Extension(e, "tracestate")
	return r.d.Queue.put(ctx, attempt+1, rec)
}

// admit adds the entry to the queue.
func (r *Runner) admit(ctx context.Context, e ce.Event, req scan.Request, attempt int) error {
	pushed := req.Pushed
	if pushed.IsZero() {
		pushed = e.Time()
	}
	add := entry{ID: req.ID, Attempt: attempt, Project: digest("project", req.Project), Line: line(req), Commit: digest("commit", req.Commit),
		Pushed: pushed.UTC(), Priority: req.Priority, Cause: identity(e), Asked: r.d.Now().UTC()}
	s, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
		if s.find(req.ID) != nil {
			return false, nil // another runner was faster
		}
		if wait, _ := s.count(); wait >= MaxWaiting {
			return false, fault.Errorf(fault.Transient, "runner: %d scans are waiting, no more are taken", wait)
		}
		if newer := s.add(add, req.Commit); newer != nil {
			return false, superseded(ctx, r.d.Queue, *newer)
		}
		return true, nil
	})
	r.d.Metrics.observe(s)
	return err
}

// superseded is the error of a request that comes after a newer one.
func superseded(ctx context.Context, q *Queue, newer entry) error {
	by := "a newer commit"
	if rec, err := q.get(ctx, newer.ID, newer.Attempt); err == nil {
		by = rec.Request.Commit
	}
	return fault.Errorf(fault.Permanent, "superseded by %s", by)
}

// load reads the project of a request.
func (r *Runner) load(ctx context.Context, e ce.Event, req scan.Request) (record, error) {
	dir, err := os.MkdirTemp(r.d.TempDir, "falconer-scan-")
	if err != nil {
		return record{}, fault.New("runner: make a working directory", fault.Transient, err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			r.d.Log.Error("a scan's directory stays behind", "dir", dir, "scan_id", req.ID, "error", err)
		}
	}()
	project, manager, err := runner.Unpack(ctx, r.d.Sources, r.d.Managers, req, filepath.Join(dir, "source"))
	if err != nil {
		return record{}, err
	}
	return r.record(e, req, project, manager)
}

// maxRecipe bounds a recipe, in bytes: it becomes a part of a Job, in which
// each scope's address is a few hundred bytes longer.
const maxRecipe = 64 << 10

func (r *Runner) record(e ce.Event, req scan.Request, p ecosystem.Project, m ecosystem.Manager) (record, error) {
	setting := r.d.Config.Setting(p.Root, registryHere)
	setting.Import = !req.InstallOnly
	recipe := m.Recipe(p, setting)
	if err := r.d.Config.Equipped(recipe); err != nil {
		return record{}, err
	}
	if n := size(recipe); n > maxRecipe {
		return record{}, fault.Errorf(fault.TooLarge, "runner: installing %s takes settings of %d bytes, at most %d are possible", p.Lockfile, n, maxRecipe)
	}
	return record{
		Request: req, Cause: e.ID(), Traceparent: event.Extension(e, event.ExtTraceparent), Tracestate: event.Extension(e, "tracestate"),
		Packages: len(p.Packages), Scripts: first(ecosystem.InstallScripts(p), runs.MaxScripts+1), Problems: first(p.Problems, runs.MaxProblems), Recipe: recipe,
	}, nil
}

// size is about what a recipe takes, in bytes.
func size(r ecosystem.Recipe) int {
	lists := [][]string{r.Argv, r.Env, r.Withhold}
	for _, s := range r.Steps {
		lists = append(lists, s.Argv, s.Env)
	}
	n := 0
	for _, list := range lists {
		for _, s := range list {
			n += len(s) + 1
		}
	}
	return n
}

func first[T any](list []T, n int) []T { return list[:min(len(list), n)] }

// reject answers an error that stays one with scan.rejected; others are
// returned, to be tried again.
func (r *Runner) reject(by ce.Event, req scan.Request, err error) (*ce.Event, error) {
	if fault.Retryable(err) || errors.Is(err, context.Canceled) {
		return nil, err
	}
	subject := string(req.ID)
	if _, perr := scan.ParseID(subject); perr != nil {
		subject, req.ID = by.ID(), ""
	}
	return r.event(by, event.ScanRejected, subject,
		event.Rejected{ScanID: req.ID, Project: req.Project, Commit: req.Commit, By: runner.Name, Cause: by.ID(), Reason: err.Error()}, identity(by))
}

// event makes an event caused by another. Its ID follows from type, subject and
// more.
func (r *Runner) event(by ce.Event, typ, subject string, data any, more ...string) (*ce.Event, error) {
	id := event.ID(typ, append([]string{subject}, more...)...)
	e, err := event.New(typ, event.Source(runner.Name), subject, id, r.d.Now().UTC(), data)
	if err != nil {
		return nil, err
	}
	event.Caused(by, &e)
	return &e, nil
}

// event is a stand-in for the event that asked, of which its record has what
// matters.
func (rec record) event() ce.Event {
	e := ce.New()
	e.SetID(rec.Cause)
	e.SetExtension(event.ExtScanID, string(rec.Request.ID))
	for name, value := range map[string]string{event.ExtTraceparent: rec.Traceparent, "tracestate": rec.Tracestate} {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	return e
}

// attemptOf is how an attempt appears in event IDs.
func attemptOf(n int) string { return strconv.Itoa(n) }

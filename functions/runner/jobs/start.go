package jobs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// registryHere stands for the registry's address in a record's recipe: the real
// one holds a ticket, which is made when the Job is.
const registryHere = "http://registry.invalid/"

// errBlocked ends a round of starts: the cluster takes no Job now.
var errBlocked = errors.New("the cluster takes no Job now")

// advance does what the queue's state asks for: what was superseded goes, what
// a killed runner left is taken up, and free slots are filled. by is the event
// in whose name it happens: delivered again, it takes up its own work at once.
func (r *Runner) advance(ctx context.Context, by string) error {
	s, _, err := r.d.Queue.read(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range s.Entries {
		if e.Phase == dropped {
			failed = append(failed, r.drop(ctx, e))
		}
	}
	for _, e := range s.Entries {
		if e.Phase == claimed && (e.By == by || e.Cause == by || r.d.Now().Sub(e.Since) >= Lease) {
			failed = append(failed, r.resume(ctx, e, by))
		}
	}
	failed = append(failed, r.fill(ctx, by))
	return errors.Join(failed...)
}

// fill starts waiting scans as long as there are slots. A cluster that takes
// none ends it without error.
func (r *Runner) fill(ctx context.Context, by string) error {
	for {
		var next entry
		s, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
			e := s.next(r.d.Limit)
			if e == nil {
				next = entry{}
				return false, nil
			}
			e.claim(by, r.d.Now().UTC())
			next = *e
			return true, nil
		})
		r.d.Metrics.observe(s)
		if err != nil || next.ID == "" {
			return err
		}
		if err := r.begin(ctx, next); err != nil {
			if errors.Is(err, errBlocked) {
				return nil
			}
			return err
		}
	}
}

// resume takes up a claim that was not brought to its end.
func (r *Runner) resume(ctx context.Context, old entry, by string) error {
	var mine entry
	_, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
		e := s.find(old.ID)
		if e == nil || e.Phase != claimed || e.Attempt != old.Attempt || !e.Since.Equal(old.Since) {
			mine = entry{}
			return false, nil
		}
		e.claim(by, r.d.Now().UTC())
		mine = *e
		return true, nil
	})
	if err != nil || mine.ID == "" {
		return err
	}
	if err = r.begin(ctx, mine); errors.Is(err, errBlocked) {
		return nil
	}
	return err
}

// begin starts a claimed entry. If the cluster takes no Job the entry waits on,
// and the error is errBlocked. One that can never start is rejected.
func (r *Runner) begin(ctx context.Context, e entry) error {
	release, ok := r.own(e.ID)
	if !ok {
		return nil // it is being started here already
	}
	defer release()
	err := r.start(ctx, e)
	var refused *refusal
	switch {
	case err == nil:
		r.blocked.Store(false)
		return nil
	case !fault.Retryable(err):
		return r.giveUp(ctx, e, err.Error())
	case !errors.As(err, &refused):
		return err
	}
	r.d.Log.Warn("the cluster takes no Job, the scan waits", "scan_id", e.ID, "attempt", e.Attempt, "error", refused.err)
	r.blocked.Store(true)
	_, err = r.d.Queue.change(ctx, func(s *state) (bool, error) {
		in := s.find(e.ID)
		if in == nil || in.Phase != claimed || in.Attempt != e.Attempt {
			return false, nil
		}
		in.Phase, in.By = waiting, ""
		return true, nil
	})
	if err != nil {
		return err
	}
	return errBlocked
}

// refusal is a transient error of the cluster, not of the queue.
type refusal struct{ err error }

func (f *refusal) Error() string { return f.err.Error() }
func (f *refusal) Unwrap() error { return f.err }

// start creates the Job and tells of it. Each step may have been done before.
func (r *Runner) start(ctx context.Context, e entry) error {
	rec, err := r.d.Queue.get(ctx, e.ID, e.Attempt)
	if err != nil {
		return err
	}
	base, err := r.d.Registry(ctx)
	if err != nil {
		return &refusal{err}
	}
	if err := r.d.Runs.Put(ctx, r.run(e, rec, "")); err != nil {
		return err
	}
	if err := r.d.Cluster.Create(ctx, r.spec(e, rec, base)); err != nil {
		if fault.Retryable(err) {
			return &refusal{err}
		}
		return err
	}
	created := r.d.Now()
	run, err := r.d.Runs.Get(ctx, e.ID)
	if err != nil {
		return err
	}
	if run.Attempt == e.Attempt && run.GivenUp != "" { // whoever gave it up may not have seen the Job
		return r.d.Cluster.Delete(ctx, e.ID, e.Attempt)
	}
	if err := r.started(ctx, e, rec); err != nil {
		return err
	}
	return r.settle(ctx, e, rec, created)
}

// settle notes that the Job runs.
func (r *Runner) settle(ctx context.Context, e entry, rec record, created time.Time) error {
	fresh := false
	s, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
		in := s.find(e.ID)
		if fresh = in != nil && in.Attempt == e.Attempt && in.Phase == claimed; !fresh {
			return false, nil // its end came first, or a newer commit
		}
		in.Phase, in.By, in.Until = running, "", e.Since.Add(kubernetes.Deadline(rec.Request))
		return true, nil
	})
	if err != nil {
		return err
	}
	r.d.Metrics.observe(s)
	if fresh {
		r.d.Metrics.begun(created.Sub(e.Asked))
		r.d.Log.Info("scan started", "scan_id", e.ID, "attempt", e.Attempt, "job", kubernetes.JobName(e.ID, e.Attempt))
	}
	return nil
}

// started emits scan.started.
func (r *Runner) started(ctx context.Context, e entry, rec record) error {
	data := event.Started{Request: rec.Request, Attempt: e.Attempt, At: e.Since, Sandbox: kubernetes.Kind, Sensor: r.d.Sensor}
	out, err := r.event(rec.event(), event.ScanStarted, string(e.ID), data, attemptOf(e.Attempt))
	if err != nil {
		return err
	}
	return r.d.Emit.Emit(ctx, *out)
}

// run is the record of an attempt for those who watch it.
func (r *Runner) run(e entry, rec record, givenUp string) runs.Run {
	return runs.Run{
		Request: rec.Request, Attempt: e.Attempt, Job: kubernetes.JobName(e.ID, e.Attempt), Namespace: r.d.Config.Namespace,
		RuntimeClass: r.d.Config.RuntimeClass, Sensor: r.d.Sensor, Packages: rec.Packages, InstallScripts: rec.Scripts, Problems: rec.Problems,
		Created: e.Since, Deadline: e.Since.Add(kubernetes.Deadline(rec.Request)), Cause: rec.Cause,
		Traceparent: rec.Traceparent, Tracestate: rec.Tracestate, GivenUp: givenUp,
	}
}

// spec is what the Job is made of.
func (r *Runner) spec(e entry, rec record, base string) kubernetes.Spec {
	npm := base + r.d.Key.Path(ticket.NPM, e.ID, e.Attempt, e.Since.Add(kubernetes.Deadline(rec.Request)+time.Minute)) + "/"
	return kubernetes.Spec{Request: rec.Request, Attempt: e.Attempt, Recipe: within(rec.Recipe, npm),
		Source: base + r.d.Key.Path(ticket.Source, e.ID, e.Attempt, e.Since.Add(SourceTicket)),
		Canary: canary.Derive(r.d.Key, string(e.ID), e.Attempt)}
}

// within puts the registry's address into a recipe.
func within(rec ecosystem.Recipe, registry string) ecosystem.Recipe {
	put := func(list []string) []string {
		out := make([]string, len(list))
		for i, s := range list {
			out[i] = strings.ReplaceAll(s, registryHere, registry)
		}
		return out
	}
	rec.Argv, rec.Env = put(rec.Argv), put(rec.Env)
	return rec
}

// drop carries out what a newer commit asked for: the Job goes, the scan is
// rejected, the entry is removed, in this order.
func (r *Runner) drop(ctx context.Context, e entry) error {
	return r.giveUp(ctx, e, "superseded by "+e.Newer)
}

// giveUp ends an attempt that has, or might have, a Job, with scan.rejected.
func (r *Runner) giveUp(ctx context.Context, e entry, reason string) error {
	rec, err := r.d.Queue.get(ctx, e.ID, e.Attempt)
	if err != nil && !errors.Is(err, errNoRecord) {
		return err
	}
	if rec.Request.ID == "" {
		rec.Request.ID = e.ID
	}
	if err := r.d.Runs.Put(ctx, r.run(e, rec, reason)); err != nil && !errors.Is(err, runs.ErrNewer) {
		return err
	}
	if err := r.d.Cluster.Delete(ctx, e.ID, e.Attempt); err != nil {
		return err
	}
	data := event.Rejected{ScanID: e.ID, Project: rec.Request.Project, Commit: rec.Request.Commit, By: runner.Name, Cause: rec.Cause, Reason: reason}
	out, err := r.event(rec.event(), event.ScanRejected, string(e.ID), data, attemptOf(e.Attempt), e.Cause)
	if err != nil {
		return err
	}
	if err := r.d.Emit.Emit(ctx, *out); err != nil {
		return err
	}
	gone := false
	s, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
		gone = s.remove(e.ID, e.Attempt)
		return gone, nil
	})
	if err != nil {
		return err
	}
	r.d.Metrics.observe(s)
	if gone {
		r.d.Metrics.gaveUp(e.Phase == dropped)
		r.d.Log.Info("scan given up", "scan_id", e.ID, "attempt", e.Attempt, "reason", reason)
	}
	return r.d.Queue.forget(ctx, e.ID, e.Attempt)
}

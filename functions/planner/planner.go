// Package planner turns a push, a merge request, or an archive handed in, into
// scan requests: one for each project root and package manager that was touched.
//
// Guarantees: the same source is planned to the same requests with the same
// IDs, however often; only what source.Pack makes of an archive (canonical,
// without secrets) enters the object store; a source that can't be scanned
// ends in scan.rejected with a reason, never in silence; and what may succeed
// later is retried instead.
package planner

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Name is the function's name in event sources, metrics and logs.
const Name = "planner"

// Timeout bounds the handling of one event: fetching, unpacking, storing.
const Timeout = 10 * time.Minute

// Function handles repo.push and repo.merge_request: it fetches the source,
// plans, and emits scan.requested and scan.rejected; for a scan that has its
// answer already, scan.finished once more (see ExtReused).
type Function struct {
	Planner Planner
	Fetcher SourceFetcher
	Changes Comparer    // what a change touched; nil scans every root each time
	Results Results     // what is known already; nil asks for each scan
	Answers Answers     // of the same content at other commits; nil asks for each commit
	Heads   Heads       // how far branches were looked at; nil believes each push
	Lines   Lines       // which scans branches were at; nil has nothing to compare with
	Files   Files       // of default branches; nil believes no suppression of a source
	Missed  *Reconciler // looks for missed pushes on the cluster's sweep; may be nil
	Emitter function.Emitter
	Now     func() time.Time
	Log     *slog.Logger
}

var _ function.Handler = (*Function)(nil)

// Handle plans the scans of a push or a merge request. It returns an error only
// where handling the event again may help, or where the event itself is
// malformed. The cluster's sweep has it look for missed pushes; what that can't
// do it does at the next. Other types of events are success: they only wake the
// function.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	var j job
	var err error
	switch e.Type() {
	case event.RepoPush:
		j, err = f.pushed(e)
	case event.RepoMergeRequest:
		j, err = f.requested(e)
	case event.Ping:
		if f.Missed != nil {
			if err := f.Missed.Pass(ctx); err != nil {
				f.Log.Warn("missed pushes could not all be looked for; the next sweep goes on", "error", err)
			}
		}
		return nil, nil
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if e.Type() == event.RepoPush {
		if j.change.from, err = f.since(ctx, j.fetch); err != nil {
			return nil, err
		}
	}
	plan, err := f.plan(ctx, j)
	if err != nil {
		if fault.Retryable(err) {
			return nil, err
		}
		plan = Plan{Rejected: []event.Rejected{j.meta.rejected("", "", err)}}
	}
	asked := plan.Requests
	known, err := plan.reuse(ctx, f.Results)
	if err != nil {
		return nil, err
	}
	same, err := plan.elsewhere(ctx, f.Answers, f.Results, f.Now())
	if err != nil {
		return nil, err
	}
	known = append(known, same...)
	if err := f.noted(ctx, j, answered(asked, same)); err != nil {
		return nil, err
	}
	f.Log.Info("change planned", "type", e.Type(), "project", j.meta.Project, "commit", j.meta.Commit, "scans", len(plan.Requests),
		"known", len(known), "untouched", plan.Untouched, "rejected", len(plan.Rejected))
	for _, r := range plan.Requests {
		f.Log.Info("scan requested", "scan_id", r.ID, "project", r.Project, "commit", r.Commit, "root", r.Root)
	}
	for _, r := range known {
		f.Log.Info("scan is known already", "scan_id", r.ScanID, "project", r.Project, "root", r.Root)
	}
	at := e.Time() // of what asked: planned twice, it is the same request
	if at.IsZero() {
		at = f.Now()
	}
	if err := errors.Join(plan.Announce(ctx, f.Emitter, Name, at, &e), retell(ctx, known, f.Emitter, f.Now(), e)); err != nil || e.Type() != event.RepoPush {
		return nil, err
	}
	return nil, f.seen(ctx, j.fetch)
}

// job is what an event asks for.
type job struct {
	fetch  event.Push
	meta   Meta
	change change
	target string // branch that it is compared with; "" for none
}

func (f *Function) pushed(e ce.Event) (job, error) {
	push, err := event.Decode[event.Push](e)
	priority := scan.PriorityNormal
	if push.DefaultBranch != "" && push.Ref == "refs/heads/"+push.DefaultBranch {
		priority = scan.PriorityDefaultBranch
	}
	return job{push, Meta{
		Project: push.Project, Ref: branch(push.Ref), Commit: push.After, WebURL: push.WebURL, Pushed: push.Received, Priority: priority,
		StripTop: true, By: Name, Cause: e.ID(),
	}, change{to: f.Changes, project: push.Project, from: push.Before, at: push.After}, targetOf(push)}, err
}

// requested reads a merge request. What counts is what it brings to its target.
// The source is the target project's too, by the commit: nothing of a fork is
// asked for.
func (f *Function) requested(e ce.Event) (job, error) {
	m, err := event.Decode[event.MergeRequest](e)
	ref := "refs/heads/" + m.Source
	if m.Fork != "" {
		ref = "refs/merge-requests/" + strconv.FormatInt(m.IID, 10) + "/head"
	}
	return job{event.Push{Provider: m.Provider, ProjectID: m.ProjectID, Project: m.Project, WebURL: m.WebURL, Ref: ref, After: m.Head, Received: m.Received}, Meta{
		Project: m.Project, Ref: branch(ref), Commit: m.Head, WebURL: m.WebURL, Pushed: m.Received, Priority: scan.PriorityMergeRequest,
		StripTop: true, By: Name, Cause: e.ID(),
	}, change{to: f.Changes, project: m.Project, from: m.Target, at: m.Head, base: true}, m.Target}, err
}

// plan fetches a source and plans its scans.
func (f *Function) plan(ctx context.Context, j job) (Plan, error) {
	archive, err := f.Fetcher.Fetch(ctx, j.fetch)
	if err != nil {
		return Plan{}, err
	}
	defer archive.Close()
	j.change.manifests = manifests(f.Planner.Managers)
	j.meta.Choose = j.change.touched
	j.meta.Standard = func(ctx context.Context) (Standard, error) { return f.standard(ctx, j) }
	return f.Planner.Plan(ctx, archive, j.meta)
}

// targetOf is the branch that a push is compared with: the default branch. A tag
// names a release, which is judged as a whole.
func targetOf(p event.Push) string {
	if !strings.HasPrefix(p.Ref, "refs/heads/") {
		return ""
	}
	return p.DefaultBranch
}

// branch shortens "refs/heads/main" to "main".
func branch(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name
		}
	}
	return ref
}

// Plan is what a source comes to.
type Plan struct {
	Requests  []scan.Request
	Rejected  []event.Rejected
	Untouched int // roots that Meta.Choose left out
}

// Announce emits the plan's events in the name of a function. It returns nil
// once all are durable. IDs are deterministic: after an error it can be called
// again. by may be nil.
func (p Plan) Announce(ctx context.Context, to function.Emitter, from string, at time.Time, by *ce.Event) error {
	events, err := p.events(from, at)
	if err != nil {
		return err
	}
	for _, e := range events {
		if by != nil {
			event.Caused(*by, &e)
		}
		if err := to.Emit(ctx, e); err != nil {
			return fault.New("planner: emit "+e.Type(), fault.KindOf(err), err)
		}
	}
	return nil
}

// events makes the plan's events.
func (p Plan) events(from string, at time.Time) ([]ce.Event, error) {
	var out []ce.Event
	for _, r := range p.Requests {
		e, err := event.New(event.ScanRequested, event.Source(from), string(r.ID), event.ID(event.ScanRequested, string(r.ID)), at, r)
		if err != nil {
			return nil, err
		}
		e.SetExtension(event.ExtScanID, string(r.ID))
		out = append(out, e)
	}
	for _, r := range p.Rejected {
		e, err := event.New(event.ScanRejected, event.Source(from), r.Cause, event.ID(event.ScanRejected, from, r.Cause, r.Project, r.Reason), at, r)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Package planner turns a push, or an archive handed in, into scan requests:
// one for each project root and package manager.
//
// Guarantees: the same source is planned to the same requests with the same
// IDs, however often; only what source.Pack makes of an archive (canonical,
// without secrets) enters the object store; a source that can't be scanned
// ends in scan.rejected with a reason, never in silence; and what may succeed
// later is retried instead.
package planner

import (
	"context"
	"log/slog"
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

// Function handles repo.push: it fetches the source, plans, and emits
// scan.requested and scan.rejected.
type Function struct {
	Planner Planner
	Fetcher SourceFetcher
	Emitter function.Emitter
	Now     func() time.Time
	Log     *slog.Logger
}

var _ function.Handler = (*Function)(nil)

// Handle plans the scans of a push. It returns an error only where handling
// the event again may help, or where the event itself is malformed. Other types
// of events are success: they only wake the function ahead of a push.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	if e.Type() != event.RepoPush {
		return nil, nil
	}
	push, err := event.Decode[event.Push](e)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	plan, err := f.plan(ctx, e, push)
	if err != nil {
		if fault.Retryable(err) {
			return nil, err
		}
		plan = Plan{Rejected: []event.Rejected{{Project: push.Project, Ref: branch(push.Ref), Commit: push.After, By: Name, Cause: e.ID(), Reason: err.Error()}}}
	}
	f.Log.Info("push planned", "project", push.Project, "commit", push.After, "scans", len(plan.Requests), "rejected", len(plan.Rejected))
	return nil, plan.Announce(ctx, f.Emitter, Name, f.Now(), &e)
}

// plan fetches a push's source and plans its scans.
func (f *Function) plan(ctx context.Context, e ce.Event, push event.Push) (Plan, error) {
	archive, err := f.Fetcher.Fetch(ctx, push)
	if err != nil {
		return Plan{}, err
	}
	defer archive.Close()
	return f.Planner.Plan(ctx, archive, Meta{
		Project: push.Project, Ref: branch(push.Ref), Commit: push.After, WebURL: push.WebURL,
		StripTop: true, By: Name, Cause: e.ID(),
	})
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
	Requests []scan.Request
	Rejected []event.Rejected
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

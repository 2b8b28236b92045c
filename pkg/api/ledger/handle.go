package ledger

import (
	"context"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var _ function.Handler = (*Ledger)(nil)

// Handle takes in scan.requested, scan.started, scan.finished, scan.amended
// and scan.rejected. Other types are fault.Invalid, as is data that can't be
// read. A rejection without a scan ID concerns no scan and is passed over.
func (l *Ledger) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	switch e.Type() {
	case event.ScanRequested:
		return nil, with(ctx, e, l.requested)
	case event.ScanStarted:
		return nil, with(ctx, e, l.started)
	case event.ScanFinished, event.ScanAmended:
		return nil, with(ctx, e, l.finished)
	case event.ScanRejected:
		return nil, with(ctx, e, l.rejected)
	}
	return nil, fault.Errorf(fault.Invalid, "ledger: unexpected event type %.80q", e.Type())
}

// with decodes the event's data and hands it over with the event's time.
func with[T any](ctx context.Context, e ce.Event, f func(context.Context, T, time.Time) error) error {
	data, err := event.Decode[T](e)
	if err != nil {
		return err
	}
	return f(ctx, data, e.Time())
}

func (l *Ledger) requested(ctx context.Context, r scan.Request, at time.Time) error {
	return l.Request(ctx, r, at)
}

// Request notes that a scan was asked for at a time. A scan that is under way
// or finished stays what it is; one that was rejected before is pending again.
func (l *Ledger) Request(ctx context.Context, r scan.Request, at time.Time) error {
	return l.change(ctx, r.ID, func(rec *Record) {
		rec.describe(r)
		if at.After(rec.Requested) {
			rec.Requested = at.UTC()
		}
		if rec.Status == "" || rec.Status == Rejected && at.After(rec.Ended) {
			rec.Status, rec.Reason, rec.Ended = Pending, "", time.Time{}
		}
	})
}

func (l *Ledger) started(ctx context.Context, s event.Started, _ time.Time) error {
	return l.change(ctx, s.Request.ID, func(rec *Record) {
		rec.describe(s.Request)
		if s.Attempt < rec.Attempt {
			return
		}
		rec.Attempt, rec.Started = s.Attempt, s.At.UTC()
		if rec.Status == "" || rec.Status == Pending || rec.Status == Rejected && s.At.After(rec.Ended) {
			rec.Status, rec.Reason, rec.Ended = Running, "", time.Time{}
		}
	})
}

func (l *Ledger) finished(ctx context.Context, r finding.Result, _ time.Time) error {
	return l.change(ctx, r.ScanID, func(rec *Record) {
		if rec.Status == Finished && r.Revision <= rec.Revision {
			return
		}
		rec.Project, rec.Ref, rec.Commit, rec.Root, rec.Manager = r.Project, r.Ref, r.Commit, r.Root, r.Manager
		rec.Status, rec.Verdict, rec.Revision, rec.Ended, rec.Reason = Finished, r.Verdict, r.Revision, r.Finished.UTC(), ""
		if rec.Started.IsZero() {
			rec.Started = r.Started.UTC()
		}
	})
}

func (l *Ledger) rejected(ctx context.Context, r event.Rejected, at time.Time) error {
	if r.ScanID == "" {
		return nil
	}
	return l.change(ctx, r.ScanID, func(rec *Record) {
		if rec.Status == Finished || at.Before(rec.Requested) || at.Before(rec.Started) {
			return
		}
		if rec.Project == "" {
			rec.Project, rec.Commit = r.Project, r.Commit
		}
		rec.Status, rec.Reason, rec.Ended = Rejected, r.Reason, at.UTC()
	})
}

// describe fills in what a request says of a scan.
func (rec *Record) describe(r scan.Request) {
	if rec.Status == Finished { // the result says it
		return
	}
	rec.Project, rec.Ref, rec.Commit, rec.Root, rec.Manager = r.Project, r.Ref, r.Commit, r.Root, r.Manager
}

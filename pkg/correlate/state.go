// Package correlate joins alerts to scans. It holds the join as pure values:
// the State of a scan (what its events said), the Fold over its alerts, and
// Conclude, which makes the result of both. It does no I/O.
//
// Guarantees:
//
//   - Order and repetition do not matter. State.Apply takes the latest attempt
//     of each event whichever comes first; a Fold counts an alert once,
//     however often it is added, and ends the same for every order (below
//     MaxAlerts).
//   - Repetitions are recognised exactly: by stream sequence where the same
//     stored alert is read again, by content digest where it was stored twice.
//   - Memory is bounded: MaxAlerts alerts, finding.MaxFindings findings of
//     finding.MaxEvidence pieces of evidence each, every text cut. What goes
//     beyond is counted, and what was not looked at makes the result
//     incomplete.
package correlate

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// State is what is known about a scan apart from its alerts and its result. Its
// zero value, with a ScanID, knows nothing.
type State struct {
	ScanID  scan.ID        `json:"scan_id"`
	Started *event.Started `json:"started,omitempty"` // latest attempt
	Exited  *event.Exited  `json:"exited,omitempty"`  // latest attempt that ended
	// Reports are what a sensor apart from the sandbox said, one an attempt, the
	// latest attempts.
	Reports []event.SensorReport `json:"reports,omitempty"`
	// ReportHeld is when an exit came before the report of its attempt, and
	// Unreported the last attempt whose report was given up.
	ReportHeld time.Time `json:"report_held,omitzero"`
	Unreported int       `json:"unreported,omitempty"`
	// Again is when the scan was requested once more, because it was not watched
	// to its end.
	Again time.Time `json:"again,omitzero"`
	// Slim says that Exited's lists and log are left out: the result has them.
	Slim     bool   `json:"slim,omitempty"`
	Rejected string `json:"rejected,omitempty"` // why there will be no result
	// RejectedAt is when the scan was rejected, the zero time if that is not known.
	// A later start undoes the rejection.
	RejectedAt time.Time `json:"rejected_at,omitzero"`
	// Held is when the first alert came for a scan that nothing else was known of.
	Held time.Time `json:"held,omitzero"`
	// ExitHeld is when an exit came before the start of its attempt.
	ExitHeld time.Time `json:"exit_held,omitzero"`
	// Orphaned is when the scan was given up as unknown and its alerts were
	// reported as runtime alerts. They still join if it turns up.
	Orphaned time.Time `json:"orphaned,omitzero"`
	Orphans  int64     `json:"orphans,omitempty"` // how many stored alerts that were
	// Refused is how many alerts were stored for a scan that was rejected.
	Refused int64 `json:"refused,omitempty"`
	// Lost is when the scan was given up as started and never ended.
	Lost time.Time `json:"lost,omitzero"`
	// Announced is the last revision of the result that was emitted.
	Announced int `json:"announced,omitempty"`
	// Cursor is the highest sequence that this revision covers.
	Cursor uint64 `json:"cursor,omitempty"`
	// Traceparent is the trace context in which the scan was last heard of, by
	// its start or its end: what the result belongs to, whoever makes it when.
	Traceparent string `json:"traceparent,omitempty"`
}

// Input is one thing heard about a scan; one field is set.
type Input struct {
	Started  *event.Started
	Exited   *event.Exited
	Rejected *event.Rejected
	Alerts   *event.Alerts
	Reported *event.SensorReport

	At          time.Time // of the event that said so; the zero time if not known
	Traceparent string    // of the event that said so
}

// Grace is how long a scan is waited for, beyond its own timeout.
type Grace struct {
	Unknown time.Duration // from an alert to the scan's first event
	Start   time.Duration // from an exit to the start that should precede it
	Lost    time.Duration // from a scan's timeout to its exit
	Report  time.Duration // from an exit to the report of a sensor apart
}

// DefaultGrace holds what fits one machine and a cluster alike.
var DefaultGrace = Grace{Unknown: 2 * time.Minute, Start: 30 * time.Second, Lost: 2 * time.Minute, Report: 30 * time.Second}

// Apply returns the state after in, heard at the given time, and whether that
// changed anything.
func (s State) Apply(in Input, at time.Time) (State, bool) {
	switch {
	case in.Started != nil:
		if s.Started != nil && !later(in.Started.Attempt, in.Started.At, s.Started.Attempt, s.Started.At) {
			return s, false
		}
		s.Started, s.Lost = in.Started, time.Time{}
		if s.undone(s.RejectedAt) { // a dead letter was replayed
			s.Rejected, s.RejectedAt = "", time.Time{}
		}
		if s.Exited == nil && in.Traceparent != "" {
			s.Traceparent = in.Traceparent
		}
		if s.started() {
			s.ExitHeld = time.Time{}
		}
		s = s.hold(at)
	case in.Exited != nil:
		if s.Exited != nil && !later(in.Exited.Attempt, in.Exited.At, s.Exited.Attempt, s.Exited.At) {
			return s, false
		}
		s.Exited, s.Slim, s.Lost = bounded(in.Exited), false, time.Time{}
		if in.Traceparent != "" {
			s.Traceparent = in.Traceparent
		}
		if s.ExitHeld = at; s.started() {
			s.ExitHeld = time.Time{}
		}
		s = s.hold(at)
	case in.Reported != nil:
		reports, changed := merged(s.Reports, *in.Reported)
		if !changed {
			return s, false
		}
		s.Reports = reports
		s = s.hold(at)
	case in.Rejected != nil:
		if s.undone(in.At) || s.Rejected != "" && !in.At.After(s.RejectedAt) {
			return s, false
		}
		s.RejectedAt = in.At
		if s.Rejected = cut(in.Rejected.Reason, maxText); s.Rejected == "" {
			s.Rejected = "no reason given"
		}
	case in.Alerts != nil:
		if s.Known() || !s.Held.IsZero() {
			return s, false
		}
		s.Held = at
	}
	return s, true
}

// undone reports whether the scan started after a rejection of the given time.
func (s State) undone(rejected time.Time) bool {
	return s.Started != nil && !rejected.IsZero() && s.Started.At.After(rejected)
}

// later orders two reports of the same kind: the higher attempt counts, then,
// to be independent of the order they come in, the earlier of two.
func later(attempt int, at time.Time, than int, thanAt time.Time) bool {
	if attempt != than {
		return attempt > than
	}
	return at.Before(thanAt)
}

// Known reports whether anything but alerts was heard of the scan.
func (s State) Known() bool { return s.Started != nil || s.Exited != nil || s.Rejected != "" }

// started reports whether the start of the attempt that exited is known.
func (s State) started() bool {
	return s.Exited == nil || (s.Started != nil && s.Started.Attempt >= s.Exited.Attempt)
}

// Ended reports whether the scan has, or should have, a result.
func (s State) Ended() bool {
	switch {
	case s.Exited != nil:
		return s.ExitHeld.IsZero() && s.ReportHeld.IsZero()
	default:
		return !s.Lost.IsZero() && s.Rejected == ""
	}
}

// Due returns when the scan must be looked at although nothing more is heard
// of it; the zero time means never.
func (s State) Due(g Grace) time.Time {
	switch {
	case s.Rejected != "" && s.Exited == nil, s.Ended() && s.Announced > 0:
		return time.Time{}
	case s.Ended() && s.Exited != nil: // its result should be out by now
		return s.Exited.At.Add(g.Lost)
	case s.Ended():
		return s.Lost
	case !s.ReportHeld.IsZero():
		return s.ReportHeld.Add(g.Report)
	case s.Exited != nil:
		return s.ExitHeld.Add(g.Start)
	case s.Started != nil:
		return s.Started.At.Add(s.Started.Request.Timeout() + g.Lost)
	case !s.Held.IsZero() && s.Orphaned.IsZero():
		return s.Held.Add(g.Unknown)
	default:
		return time.Time{}
	}
}

// Overdue says what becomes of a scan whose Due time has passed.
type Overdue uint8

// What is done about an overdue scan.
const (
	Wait   Overdue = iota // nothing yet
	Orphan                // report its alerts as runtime alerts
	Lose                  // end it as lost
	Finish                // make its result: without its start, or at last
)

// Expire returns the state once it is overdue, and what has to be done.
func (s State) Expire(g Grace, now time.Time) (State, Overdue) {
	due := s.Due(g)
	if due.IsZero() || now.Before(due) {
		return s, Wait
	}
	switch {
	case s.Exited != nil || s.Ended():
		if !s.ReportHeld.IsZero() {
			s.Unreported = s.Exited.Attempt
		}
		s.ExitHeld, s.ReportHeld = time.Time{}, time.Time{}
		return s, Finish
	case s.Started != nil:
		s.Lost = now
		return s, Lose
	default:
		s.Orphaned = now
		return s, Orphan
	}
}

// Slimmed returns the state without what the result holds as well.
func (s State) Slimmed() State {
	if s.Exited == nil || s.Slim {
		return s
	}
	x := *s.Exited
	x.Fetches, x.InstallScripts, x.Log = nil, nil, ""
	s.Exited, s.Slim = &x, true
	return s
}

// Request returns the scan's request, from whichever event is there.
func (s State) Request() scan.Request {
	switch {
	case s.Exited != nil:
		return s.Exited.Request
	case s.Started != nil:
		return s.Started.Request
	default:
		return scan.Request{ID: s.ScanID}
	}
}

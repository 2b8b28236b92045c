package deadletter

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Name is the function's.
const Name = "deadletter"

// starter is the Trigger, and the function, that starts scans.
const starter = "runner"

// maxReason bounds what a rejection repeats of a letter's reason, in bytes.
const maxReason = 1000

// Rejecting returns a handler that stores a letter as Handle does and then, where
// it is a scan that the runner could not start, emits scan.rejected: whoever waits
// for the scan hears that it did not run, and why. A replay that starts it
// overrides that. A letter that comes again is told of with the same event ID.
// Errors are fault.Transient; the letter may be stored then.
func (s *Store) Rejecting(emit function.Emitter, now func() time.Time) function.Handler {
	return function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		if _, err := s.Handle(ctx, e); err != nil {
			return nil, err
		}
		out, err := rejection(letterOf(e), now().UTC())
		if err != nil || out == nil {
			return nil, err
		}
		return nil, fault.New("deadletter: tell that a scan was not started", fault.Transient, emit.Emit(ctx, *out))
	})
}

// rejection is what a letter means for the scan that it asked for; nil if it
// asked for none, or somebody else than the runner failed.
func rejection(l Letter, at time.Time) (*ce.Event, error) {
	if l.Event.Type() != event.ScanRequested || !l.toStarter() {
		return nil, nil
	}
	req, err := event.Decode[scan.Request](l.Event)
	if err != nil {
		return nil, nil // nobody can know which scan it is; the letter is kept
	}
	if _, err := scan.ParseID(string(req.ID)); err != nil {
		return nil, nil
	}
	reason := strings.ToValidUTF8(l.Reason[:min(len(l.Reason), maxReason)], "")
	// By is the runner: what it may have queued all the same stays there, and
	// its verdict counts.
	data := event.Refused(req, starter, l.Event.ID(),
		fmt.Sprintf("could not be started: %s; kept as dead letter %s, falconer replay sends it again", reason, l.ID))
	out, err := event.New(event.ScanRejected, event.Source(Name), string(req.ID), event.ID(event.ScanRejected, "dead letter", l.ID), at, data)
	if err != nil {
		return nil, fault.New("deadletter: rejection", fault.Transient, err)
	}
	event.Caused(l.Event, &out)
	return &out, nil
}

// toStarter reports whether it was the runner that failed. A cluster's broker
// names no Trigger, but the subscriber's address or, where that gave no answer,
// its own filter's, which ends in /triggers/<namespace>/<trigger>/<uid>.
func (l Letter) toStarter() bool {
	if l.Trigger != "" {
		return l.Trigger == starter
	}
	u, err := url.Parse(l.Dest)
	if err != nil {
		return false
	}
	host, _, _ := strings.Cut(u.Hostname(), ".")
	path := strings.Split(u.Path, "/")
	return host == starter || len(path) > 3 && path[1] == "triggers" && path[3] == starter
}

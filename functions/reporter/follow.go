package reporter

import (
	"context"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Progress is what a Follower is told of a scan without a result yet.
type Progress struct {
	Event   ce.Event
	Request scan.Request
	Started bool // it runs; else it was only asked for
}

// Follower is a sink that also hears of scans under way. What holds for Deliver
// holds for Follow.
type Follower interface {
	Sink
	Follow(ctx context.Context, p Progress) error
}

// delivery returns what to do for each sink; nil for an event that only wakes
// the function.
func delivery(e ce.Event) (func(context.Context, Sink) error, error) {
	switch e.Type() {
	case event.ScanRequested:
		r, err := event.Decode[scan.Request](e)
		return follow(Progress{Event: e, Request: r}), err
	case event.ScanStarted:
		s, err := event.Decode[event.Started](e)
		return follow(Progress{Event: e, Request: s.Request, Started: true}), err
	}
	r, err := read(e)
	if r.Result == nil && r.Rejected == nil {
		return nil, err
	}
	return func(ctx context.Context, s Sink) error { return s.Deliver(ctx, r) }, err
}

func follow(p Progress) func(context.Context, Sink) error {
	return func(ctx context.Context, s Sink) error {
		if f, ok := s.(Follower); ok {
			return f.Follow(ctx, p)
		}
		return nil
	}
}

package runner

import (
	"context"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// queue lets a number of scans run at once; further requests wait as long as
// their sender does, and are then transient errors.
type queue struct {
	next  function.Handler
	slots chan struct{}
}

var _ function.Handler = (*queue)(nil)

func newQueue(n int, next function.Handler) *queue {
	return &queue{next: next, slots: make(chan struct{}, n)}
}

// Handle implements function.Handler.
func (q *queue) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fault.New("runner: wait for running scans", fault.Transient, context.Cause(ctx))
	}
	defer func() { <-q.slots }()
	return q.next.Handle(ctx, e)
}

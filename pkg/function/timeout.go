package function

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Timeout gives each call a deadline. It does not abandon a handler that
// ignores its context: two runs of one event side by side would be worse than
// a late answer.
func Timeout(d time.Duration) Decorator {
	return func(h Handler) Handler {
		return HandlerFunc(func(ctx context.Context, e event.Event) (*event.Event, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return h.Handle(ctx, e)
		})
	}
}

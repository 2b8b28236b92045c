// Package function defines what a Falconer function is: a handler of one
// CloudEvent that may reply with another.
//
// Delivery is at least once and in any order, so every Handler is idempotent:
// the same event handled twice leaves the state, and the replies' IDs, as
// after the first time. An error's fault.Kind decides whether the event is
// delivered again.
package function

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Handler handles one event. A nil reply means there is nothing to say.
type Handler interface {
	Handle(ctx context.Context, e event.Event) (*event.Event, error)
}

// HandlerFunc adapts a function to Handler.
type HandlerFunc func(ctx context.Context, e event.Event) (*event.Event, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	return f(ctx, e)
}

var _ Handler = HandlerFunc(nil)

// Emitter sends an event to the broker. It returns nil only once the event is
// durably stored. Errors are transient unless their fault.Kind says otherwise.
type Emitter interface {
	Emit(ctx context.Context, e event.Event) error
}

// EmitterFunc adapts a function to Emitter.
type EmitterFunc func(ctx context.Context, e event.Event) error

// Emit calls f.
func (f EmitterFunc) Emit(ctx context.Context, e event.Event) error { return f(ctx, e) }

var _ Emitter = EmitterFunc(nil)

// Decorator wraps a Handler with one concern.
type Decorator func(Handler) Handler

// Chain applies decorators so that the first is outermost.
func Chain(h Handler, ds ...Decorator) Handler {
	for i := len(ds) - 1; i >= 0; i-- {
		h = ds[i](h)
	}
	return h
}

package function

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/cloudevents/sdk-go/v2/event"
)

// PanicError is what Recover makes of a panic. It carries no fault.Kind, so
// the event is retried and then dead-lettered: a panic may depend on state that
// changes, and the event must not be lost over a programming error.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // of the goroutine that panicked
}

// Error says what panicked, on one line; the stack is for logs.
func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// Recover turns a handler's panic into a *PanicError, so that one hostile event
// does not take the other functions of the process down with it.
func Recover() Decorator {
	return func(h Handler) Handler {
		return HandlerFunc(func(ctx context.Context, e event.Event) (reply *event.Event, err error) {
			defer func() {
				if v := recover(); v != nil {
					reply, err = nil, &PanicError{Value: v, Stack: debug.Stack()}
				}
			}()
			return h.Handle(ctx, e)
		})
	}
}

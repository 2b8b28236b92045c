package function

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
)

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// Trace sees to it that a handler's event carries a W3C traceparent, and that
// its reply carries the same one. A valid traceparent is kept; a missing or
// malformed one is derived from the event's source and ID, so that a repeated
// delivery belongs to the same trace.
func Trace() Decorator {
	return func(h Handler) Handler {
		return HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
			if !traceparent.MatchString(event.Extension(e, event.ExtTraceparent)) {
				e = e.Clone()
				e.SetExtension(event.ExtTraceparent, Traceparent(e))
			}
			reply, err := h.Handle(ctx, e)
			if reply != nil {
				event.Caused(e, reply)
			}
			return reply, err
		})
	}
}

// Traceparent derives a W3C traceparent (version 00, sampled) from an event's
// identity.
func Traceparent(e ce.Event) string {
	sum := sha256.Sum256([]byte(e.Source() + "\x00" + e.ID()))
	return "00-" + hex.EncodeToString(sum[:16]) + "-" + hex.EncodeToString(sum[16:24]) + "-01"
}

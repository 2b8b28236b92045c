// Package fault classifies errors once, so that every transport treats them
// alike.
//
// An error's Kind decides three things and nothing else does: the HTTP status
// a function answers with, whether Knative (or the embedded broker) delivers
// the event again, and what happens to the JetStream message behind it. An
// error without a Kind is Transient: when in doubt, nothing is thrown away.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Kind says what a failed operation means for the one who asked.
type Kind uint8

const (
	// Transient: the same input may succeed later (a store that is down, a
	// timeout, a full disk). It is retried, then dead-lettered.
	Transient Kind = iota
	// Invalid: the input is malformed and stays so. It is never retried.
	Invalid
	// Permanent: the input is well formed but can't be served (an unknown
	// package manager, a source that no longer exists). It is never retried.
	Permanent
	// Unauthorized: the caller did not prove who it is.
	Unauthorized
	// TooLarge: the input exceeds a stated limit.
	TooLarge
)

var names = [...]string{"transient", "invalid", "permanent", "unauthorized", "too large"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("fault.Kind(%d)", uint8(k))
}

// Error is an error with a Kind and the operation that failed.
type Error struct {
	Op   string // what was being done, e.g. "planner: unpack source"
	Kind Kind
	Err  error
}

// Error joins the operation and its cause with a colon.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New wraps err with an operation and a Kind. It returns nil if err is nil.
func New(op string, kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Kind: kind, Err: err}
}

// Errorf formats an error of the given Kind; %w works as in fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the Kind of the outermost *Error in err's chain. Errors that
// carry none are Transient.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Transient
}

// Retryable reports whether delivering the same input again can help.
func Retryable(err error) bool { return err != nil && KindOf(err) == Transient }

// Status maps an error to the HTTP status a function answers with. Permanent
// failures avoid 404, 408, 409 and 429, which Knative retries.
func Status(err error) int {
	if err == nil {
		return http.StatusAccepted
	}
	switch KindOf(err) {
	case Invalid:
		return http.StatusBadRequest
	case Permanent:
		return http.StatusUnprocessableEntity
	case Unauthorized:
		return http.StatusUnauthorized
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			return http.StatusGatewayTimeout
		}
		return http.StatusServiceUnavailable
	}
}

// StatusRetried reports whether a delivery answered with an HTTP status is
// tried again: network errors (0), 5xx, 404, 408, 409 and 429, as Knative
// Eventing does (knative.dev/eventing/pkg/kncloudevents, SelectiveRetry).
func StatusRetried(code int) bool {
	switch code {
	case 0, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return code >= 500
}

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// TestMapping is the one table from a Kind to an HTTP status, and from that to
// whether an event is delivered again. No permanent failure may have a status
// that Knative retries.
func TestMapping(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		err    error
		kind   fault.Kind
		status int
		again  bool
	}{
		{cause, fault.Transient, 503, true},
		{fault.New("op", fault.Transient, cause), fault.Transient, 503, true},
		{fault.New("op", fault.Transient, fmt.Errorf("x: %w", context.DeadlineExceeded)), fault.Transient, 504, true},
		{fault.New("op", fault.Invalid, cause), fault.Invalid, 400, false},
		{fault.New("op", fault.Permanent, cause), fault.Permanent, 422, false},
		{fault.New("op", fault.Unauthorized, cause), fault.Unauthorized, 401, false},
		{fault.New("op", fault.TooLarge, cause), fault.TooLarge, 413, false},
		{fmt.Errorf("outer: %w", fault.New("op", fault.Invalid, cause)), fault.Invalid, 400, false},
		{fault.New("outer", fault.Transient, fault.New("op", fault.Invalid, cause)), fault.Transient, 503, true},
	} {
		status := fault.Status(tt.err)
		if fault.KindOf(tt.err) != tt.kind || status != tt.status || fault.StatusRetried(status) != tt.again || fault.Retryable(tt.err) != tt.again {
			t.Errorf("%v: kind %s, status %d, retried %v", tt.err, fault.KindOf(tt.err), status, fault.StatusRetried(status))
		}
	}
	if fault.New("op", fault.Invalid, nil) != nil || fault.Retryable(nil) || fault.Status(nil) != 202 {
		t.Error("no error is an error")
	}
	if err := fault.New("open", fault.Invalid, cause); err.Error() != "open: cause" || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// TestStatusRetried holds Knative's list.
func TestStatusRetried(t *testing.T) {
	retried := map[int]bool{0: true, 404: true, 408: true, 409: true, 429: true, 500: true, 502: true, 503: true, 599: true}
	for _, code := range []int{0, 200, 202, 301, 400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 429, 500, 502, 503, 599} {
		if got := fault.StatusRetried(code); got != retried[code] {
			t.Errorf("%d: %v", code, got)
		}
	}
}

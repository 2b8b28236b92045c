package gitlab

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// MaxWait is the longest that a call waits before it tries again. Where GitLab
// asks for more, the call ends as fault.Transient, and whoever delivers the
// event waits.
const MaxWait = 10 * time.Second

// again decides whether a call is tried again: after no answer, 408, 429 and
// 5xx; one that would add something twice (see once), only where GitLab did not
// take the request.
func again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return unsent(err) || !sentOnce(ctx), nil
	}
	if wait, ok := asked(resp); ok && wait > MaxWait {
		return false, nil
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return true, nil
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		return true, nil
	case resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode >= 500:
		return !sentOnce(ctx), nil
	}
	return false, nil
}

// unsent reports whether the connection never came to be.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

type onceKey struct{}

// once marks the calls of a context as such that must not be sent twice.
func once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

func sentOnce(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }

// asked returns how long GitLab wants us to wait.
func asked(resp *http.Response) (time.Duration, bool) {
	v := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 24*3600)) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

// backoff waits as long as GitLab asks, else first, doubled each time, with some
// jitter so that many callers don't come back at once.
func backoff(first time.Duration) func(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
	return func(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
		if resp != nil {
			if wait, ok := asked(resp); ok {
				return min(wait, MaxWait) + rand.N(first)
			}
		}
		return min(first<<min(attempt, 10), MaxWait) + rand.N(first)
	}
}

package trigger

import (
	"fmt"
	"time"

	"github.com/rickb777/date/period"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
)

// MaxWait caps the wait between two attempts, so that an exponential policy
// with many retries neither overflows nor waits for weeks.
const MaxWait = time.Hour

// MaxRetry is the largest retry count that Load accepts.
const MaxRetry = 1000

// Delivery says how a subscriber's failures are treated.
type Delivery struct {
	Retry      int           // attempts after the first
	Timeout    time.Duration // of one attempt; 0 means unset
	DeadLetter Destination   // zero means none

	policy duckv1.BackoffPolicyType
	delay  time.Duration
}

// Wait returns the pause before the retry that follows n earlier retries, with
// Knative's formulas: delay*2^n (exponential), delay*n (linear), and none at
// all unless both policy and delay are given.
func (d Delivery) Wait(n int) time.Duration {
	wait := d.delay
	switch d.policy {
	case duckv1.BackoffPolicyLinear:
		wait = d.delay * time.Duration(n) // n <= MaxRetry, delay <= MaxWait: no overflow
	case duckv1.BackoffPolicyExponential:
		for i := 0; i < n && wait < MaxWait; i++ {
			wait *= 2
		}
	default:
		return 0
	}
	return min(wait, MaxWait)
}

func newDelivery(spec *duckv1.DeliverySpec, namespace string) (d Delivery, err error) {
	if spec == nil {
		return d, nil
	}
	if spec.DeadLetterSink != nil {
		if d.DeadLetter, err = destination(*spec.DeadLetterSink, namespace); err != nil {
			return d, fmt.Errorf("deadLetterSink: %w", err)
		}
	}
	if spec.Retry != nil {
		d.Retry = int(*spec.Retry)
	}
	if d.Retry > MaxRetry {
		return d, fmt.Errorf("retry: %d, at most %d are accepted", d.Retry, MaxRetry)
	}
	if d.Timeout, err = duration("timeout", spec.Timeout); err != nil {
		return d, err
	}
	delay, err := duration("backoffDelay", spec.BackoffDelay)
	if err != nil {
		return d, err
	}
	if spec.BackoffPolicy != nil && spec.BackoffDelay != nil {
		d.policy, d.delay = *spec.BackoffPolicy, min(delay, MaxWait)
	}
	return d, nil
}

// duration reads an ISO 8601 duration with the parser that Knative uses.
func duration(field string, s *string) (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	p, err := period.Parse(*s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", field, err)
	}
	d, _ := p.Duration()
	if d < 0 {
		return 0, fmt.Errorf("%s: %s is negative", field, *s)
	}
	return d, nil
}

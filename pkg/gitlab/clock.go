package gitlab

import (
	"context"
	"time"
)

// clock ends a context unless what it waits for begins in time.
type clock struct {
	cancel context.CancelFunc
	timer  *time.Timer
}

// begin starts a clock.
func begin(ctx context.Context, d time.Duration) (context.Context, *clock) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &clock{cancel: cancel, timer: time.AfterFunc(d, cancel)}
}

// began stops the clock; false means that it was too late.
func (c *clock) began() bool { return c.timer.Stop() }

// again starts the clock once more.
func (c *clock) again(d time.Duration) { c.timer.Reset(d) }

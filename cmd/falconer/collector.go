package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// collector is the reporter's sink of `falconer scan`: it gathers the reports
// of a plan's scans, and hears of events that nobody could handle.
type collector struct {
	mu      sync.Mutex
	reports map[scan.ID]reporter.Report
	failure error
	news    chan struct{}
}

var _ reporter.Sink = (*collector)(nil)

func newCollector() *collector {
	return &collector{reports: map[scan.ID]reporter.Report{}, news: make(chan struct{}, 1)}
}

// Name implements reporter.Sink.
func (*collector) Name() string { return "collector" }

// Deliver implements reporter.Sink; a later revision replaces an earlier one.
func (c *collector) Deliver(_ context.Context, r reporter.Report) error {
	var id scan.ID
	switch {
	case r.Result != nil:
		id = r.Result.ScanID
	case r.Rejected != nil:
		id = r.Rejected.ScanID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.reports[id]; !ok || old.Result == nil || r.Result != nil && r.Result.Revision > old.Result.Revision {
		c.reports[id] = r
	}
	c.wake()
	return nil
}

// letters wraps the dead-letter function: the scan of an event that could not
// be handled has no result, and the reason is the event's. An event of no scan
// ends the command.
func (c *collector) letters(next function.Handler) function.Handler {
	return function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		reply, err := next.Handle(ctx, e)
		reason := fmt.Sprintf("%s could not be handled: %s", e.Type(), deadletter.Reason(e))
		c.mu.Lock()
		defer c.mu.Unlock()
		if id, err := scan.ParseID(e.Subject()); err != nil {
			c.failure = errors.Join(c.failure, errors.New(reason))
		} else if c.reports[id].Result == nil {
			c.reports[id] = reporter.Report{Event: e, Rejected: &event.Rejected{ScanID: id, By: "cli", Cause: e.ID(), Reason: reason}}
		}
		c.wake()
		return reply, err
	})
}

func (c *collector) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// wait returns the reports of all requests, in the plan's order.
func (c *collector) wait(ctx context.Context, plan planner.Plan) ([]reporter.Report, error) {
	for {
		if reports, err := c.complete(plan); reports != nil || err != nil {
			return reports, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.news:
		}
	}
}

func (c *collector) complete(plan planner.Plan) ([]reporter.Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return nil, c.failure
	}
	var reports []reporter.Report
	for _, req := range plan.Requests {
		r, ok := c.reports[req.ID]
		if !ok {
			return nil, nil
		}
		if r.Rejected != nil {
			r.Rejected = named(*r.Rejected, req)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// named says which of several projects was rejected.
func named(r event.Rejected, req scan.Request) *event.Rejected {
	r.Project = req.Project
	if req.Root != "." && !strings.Contains(r.Reason, req.Root) {
		r.Reason = req.Root + ": " + r.Reason
	}
	return &r
}

// Package reporter tells people and programs what scans came to: it hands each
// scan.finished, scan.amended and scan.rejected to a list of sinks, and
// scan.requested and scan.started to those that follow scans.
//
// Guarantees: an event is handled once every sink has it; a sink that fails
// does not keep the others from theirs, and is the only one that gets the event
// again on the next delivery (as long as the process remembers, see
// Remembered; beyond that sinks see repetitions, which they tolerate).
package reporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Name is the function's name in event sources, metrics and logs.
const Name = "reporter"

// Remembered is for how many events the function remembers which sinks had
// them.
const Remembered = 1024

// sinkTimeout bounds one sink's work on one event.
const sinkTimeout = 30 * time.Second

// Report is what a sink is given. Exactly one of Result and Rejected is set.
type Report struct {
	Event    ce.Event // as it came, for sinks that pass it on
	Result   *finding.Result
	Rejected *event.Rejected
}

// Sink takes reports. It may see a report again, and an older revision after a
// newer one; it is called by several goroutines at once. An error that is not
// transient means that trying again is useless: it is logged, and the event
// counts as delivered.
type Sink interface {
	Name() string
	Deliver(ctx context.Context, r Report) error
}

// Function is the reporter.
type Function struct {
	sinks []Sink
	log   *slog.Logger

	mu    sync.Mutex
	had   map[string]map[string]bool // event (source and ID) → sinks that had it
	order []string                   // keys of had, oldest first
}

var _ function.Handler = (*Function)(nil)

// New makes a reporter.
func New(log *slog.Logger, sinks ...Sink) *Function {
	return &Function{sinks: sinks, log: log, had: map[string]map[string]bool{}}
}

// Handle delivers the event to the sinks that had it not. Its error joins the
// transient ones of sinks; an event that can't be read is fault.Invalid. Other
// types of events are success: they only wake the function ahead of a report.
func (f *Function) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	do, err := delivery(e)
	if err != nil || do == nil {
		return nil, err
	}
	key := e.Source() + " " + e.ID()
	var failed []error
	for _, s := range f.sinks {
		if f.delivered(key, s.Name()) {
			continue
		}
		err := deliver(ctx, s, do)
		if fault.Retryable(err) {
			failed = append(failed, fmt.Errorf("reporter: %s: %w", s.Name(), err))
			continue
		}
		if err != nil {
			f.log.Error("report refused", "sink", s.Name(), "event", e.ID(), "subject", e.Subject(), "scan_id", event.Extension(e, event.ExtScanID), "error", err)
		}
		f.remember(key, s.Name())
	}
	return nil, errors.Join(failed...)
}

func deliver(ctx context.Context, s Sink, do func(context.Context, Sink) error) error {
	ctx, cancel := context.WithTimeout(ctx, sinkTimeout)
	defer cancel()
	return do(ctx, s)
}

// read decodes the event's data by its type; of another type it makes an empty
// report.
func read(e ce.Event) (Report, error) {
	switch e.Type() {
	case event.ScanFinished, event.ScanAmended:
		r, err := event.Decode[finding.Result](e)
		return Report{Event: e, Result: &r}, err
	case event.ScanRejected:
		r, err := event.Decode[event.Rejected](e)
		return Report{Event: e, Rejected: &r}, err
	}
	return Report{}, nil
}

func (f *Function) delivered(key, sink string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.had[key][sink]
}

// remember notes that a sink had an event, and forgets the oldest event beyond
// Remembered.
func (f *Function) remember(key, sink string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.had[key] == nil {
		f.had[key] = map[string]bool{}
		if f.order = append(f.order, key); len(f.order) > Remembered {
			delete(f.had, f.order[0])
			f.order = f.order[1:]
		}
	}
	f.had[key][sink] = true
}

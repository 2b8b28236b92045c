// Package correlator joins alerts to scans: scan.started, sandbox.exited,
// scan.rejected and falco.alert in; scan.finished, scan.amended and
// runtime.alert out.
//
// Guarantees:
//
//   - A stored alert ends in exactly one place: the result of its scan
//     (joined), a repetition (duplicate), or a runtime.alert (unmatched).
//     One that was reported as unmatched because its scan was unknown still
//     joins if the scan turns up, and is then counted as rejoined too.
//   - Events may come in any order and any number of times: what they leave
//     behind is the same. The stored alerts are the truth, an event only says
//     that it is time to look; so nothing is lost when the process is killed.
//   - A result is stored, then emitted, then marked as emitted. Its event's ID
//     follows from scan and revision, a runtime.alert's from the alert's
//     digest, so that a repetition after a crash is recognised.
//   - A scan that ends without saying so gets an inconclusive result from
//     Sweep.
package correlator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "correlator"

// Defaults of Deps.
const (
	DefaultAmendAfter = 250 * time.Millisecond
	DefaultSweepEvery = 10 * time.Second
	DefaultFoldMemory = 256 << 20
)

// attempts bounds how often a change is tried again after a conflict.
const attempts = 50

// Alerts is what the correlator needs of the alert store. Errors are transient.
type Alerts interface {
	Totals(ctx context.Context, filter string) (bySubject map[string]uint64, upTo uint64, err error)
	Get(ctx context.Context, seqs []uint64, fn func(alerts.Entry) error) error
	Read(ctx context.Context, subject string, from uint64, fn func(alerts.Entry) error) error
	Drop(ctx context.Context, subject string, last uint64) error
	Capped(ctx context.Context, id scan.ID) (alerts.Overflow, error)
}

// Results is what the correlator needs of the result store. Get returns
// results.ErrNotFound and Put results.ErrConflict, wrapped.
type Results interface {
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
	Put(ctx context.Context, r finding.Result) error
}

var (
	_ Alerts  = (*alerts.Store)(nil)
	_ Results = (*results.Store)(nil)
)

// Deps is what the correlator works with.
type Deps struct {
	States  correlate.Store
	Alerts  Alerts
	Results Results
	Emit    function.Emitter
	Grace   correlate.Grace // the zero value means correlate.DefaultGrace
	// Settle is how long after a sandbox's exit its last alerts may be on their
	// way: 0 where the sensor stores them before it reports the exit, a few
	// seconds where Falco watches.
	Settle     time.Duration
	AmendAfter time.Duration // how long late alerts are gathered; 0 means DefaultAmendAfter
	SweepEvery time.Duration // 0 means DefaultSweepEvery
	FoldMemory int           // bytes of joined alerts kept in memory; 0 means DefaultFoldMemory
	Metrics    prometheus.Registerer
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil discards
	// Baseline says what a scan is compared with, nil for nothing; nil has the scans
	// that its policy names compared with.
	Baseline func(scan.Request) *finding.Result
}

// Correlator is the function.
type Correlator struct {
	d     Deps
	busy  locks
	folds *folds
	count *counters
}

var _ function.Handler = (*Correlator)(nil)

// New makes the function and registers its metrics.
func New(d Deps) (*Correlator, error) {
	if d.Grace == (correlate.Grace{}) {
		d.Grace = correlate.DefaultGrace
	}
	if d.AmendAfter == 0 {
		d.AmendAfter = DefaultAmendAfter
	}
	if d.SweepEvery == 0 {
		d.SweepEvery = DefaultSweepEvery
	}
	if d.FoldMemory == 0 {
		d.FoldMemory = DefaultFoldMemory
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	count, err := newCounters(d.Metrics)
	if err != nil {
		return nil, err
	}
	return &Correlator{d: d, busy: newLocks(), folds: newFolds(d.FoldMemory), count: count}, nil
}

// Handle takes one event in. It never replies: what follows is emitted, as it
// may be many events. A ping is a Sweep, which is how a process that is mostly
// not there comes to sweep.
func (c *Correlator) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	if e.Type() == event.Ping {
		return nil, c.Sweep(ctx, c.d.Now())
	}
	in, id, err := read(e)
	if err != nil {
		return nil, err
	}
	in.At, in.Traceparent = e.Time(), event.Extension(e, event.ExtTraceparent)
	switch {
	case id != "":
		return nil, c.scan(ctx, id, in)
	case in.Alerts != nil:
		return nil, c.other(ctx, in.Alerts.Subject)
	default: // a rejection of something that never became a scan
		return nil, nil
	}
}

// read decodes an event and checks the scan ID in it, which becomes a key.
func read(e ce.Event) (in correlate.Input, id scan.ID, err error) {
	switch e.Type() {
	case event.ScanStarted:
		in.Started, err = data[event.Started](e)
		if err == nil {
			id = in.Started.Request.ID
		}
	case event.SandboxExited:
		in.Exited, err = data[event.Exited](e)
		if err == nil {
			id = in.Exited.Request.ID
		}
	case event.SensorReported:
		in.Reported, err = data[event.SensorReport](e)
		if err == nil {
			id = in.Reported.ScanID
		}
	case event.ScanRejected:
		in.Rejected, err = data[event.Rejected](e)
		if err == nil {
			id = in.Rejected.ScanID
		}
		if id == "" {
			return in, "", err
		}
	case event.FalcoAlert:
		in.Alerts, err = data[event.Alerts](e)
		if err == nil {
			id = in.Alerts.ScanID
		}
		if id == "" {
			return in, "", err
		}
	default: // it only wakes
		return in, "", nil
	}
	if err != nil {
		return in, "", err
	}
	id, err = scan.ParseID(string(id))
	return in, id, fault.New("correlator", fault.Invalid, err)
}

func data[T any](e ce.Event) (*T, error) {
	v, err := event.Decode[T](e)
	return &v, err
}

// scan takes in what was heard of one scan and does what follows from it.
func (c *Correlator) scan(ctx context.Context, id scan.ID, in correlate.Input) error {
	again, err := c.take(ctx, id, in)
	if err != nil {
		return err
	}
	return c.repeat(ctx, id, again)
}

// take is scan under the scan's lock. See conclude for again.
func (c *Correlator) take(ctx context.Context, id scan.ID, in correlate.Input) (again *ce.Event, err error) {
	unlock, err := c.busy.lock(ctx, string(id))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f, ok := c.folds.get(id); ok && in.Alerts != nil && in.Alerts.Last <= f.Covered() {
		return nil, nil // a conclusion went ahead of the announcement
	}
	s, err := c.change(ctx, id, func(s correlate.State) (correlate.State, bool) { return s.Apply(in, c.d.Now()) })
	if err != nil {
		return nil, err
	}
	if in.Alerts != nil {
		if err := c.join(ctx, s, in.Alerts); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Ended():
		wait := c.d.Settle
		if in.Alerts != nil {
			wait = c.d.AmendAfter // more are likely on their way: one amendment for all
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
		return c.conclude(ctx, id)
	case s.Rejected != "":
		return nil, c.refuse(ctx, id)
	case !s.Orphaned.IsZero() && !s.Known():
		return nil, c.orphan(ctx, id)
	}
	return nil, nil
}

// change applies fn to a scan's state until nobody else changed it meanwhile.
func (c *Correlator) change(ctx context.Context, id scan.ID, fn func(correlate.State) (correlate.State, bool)) (correlate.State, error) {
	for range attempts {
		s, version, err := c.d.States.Load(ctx, id)
		if err != nil {
			return s, err
		}
		next, changed := fn(s)
		if !changed {
			return s, nil
		}
		err = c.d.States.Save(ctx, next, version, next.Due(c.d.Grace))
		if err == nil {
			if !s.Known() && next.Known() && s.Orphans > 0 {
				c.count.rejoined.Add(float64(s.Orphans))
			}
			return next, nil
		}
		if !errors.Is(err, correlate.ErrConflict) {
			return s, err
		}
	}
	return correlate.State{}, fault.New("correlator: scan "+string(id), fault.Transient, correlate.ErrConflict)
}

// Run sweeps until ctx ends.
func (c *Correlator) Run(ctx context.Context) error {
	t := time.NewTicker(c.d.SweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := c.Sweep(ctx, c.d.Now()); err != nil && ctx.Err() == nil {
				c.d.Log.Warn("sweep did not complete", "error", err)
			}
		}
	}
}

// Sweep ends what waited too long: scans that never reported their end become
// inconclusive, alerts whose scan never appeared become runtime alerts. One
// scan's error does not keep it from the others; it returns them joined.
func (c *Correlator) Sweep(ctx context.Context, now time.Time) error {
	ids, err := c.d.States.Overdue(ctx, now)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := c.expire(ctx, id, now); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Correlator) expire(ctx context.Context, id scan.ID, now time.Time) error {
	again, err := c.end(ctx, id, now)
	if err != nil {
		return err
	}
	return c.repeat(ctx, id, again)
}

// end is expire under the scan's lock. See conclude for again.
func (c *Correlator) end(ctx context.Context, id scan.ID, now time.Time) (again *ce.Event, err error) {
	unlock, err := c.busy.lock(ctx, string(id))
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, version, err := c.d.States.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	next, what := s.Expire(c.d.Grace, now)
	switch what {
	case correlate.Orphan:
		if err := c.orphan(ctx, id); err != nil {
			return nil, err
		}
		_, err := c.change(ctx, id, func(s correlate.State) (correlate.State, bool) {
			next, what := s.Expire(c.d.Grace, now)
			return next, what == correlate.Orphan
		})
		return nil, err
	case correlate.Lose, correlate.Finish:
		c.d.Log.Warn("a scan did not report its end", "scan_id", id, "lost", what == correlate.Lose)
		if err := c.d.States.Save(ctx, next, version, next.Due(c.d.Grace)); err != nil {
			return nil, err
		}
		if what == correlate.Lose {
			c.count.lost.Inc()
		}
		return c.conclude(ctx, id)
	default: // only the due time was stale
		return nil, c.d.States.Save(ctx, s, version, s.Due(c.d.Grace))
	}
}

// pause waits, or returns a transient error when ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fault.New("correlator: wait", fault.Transient, ctx.Err())
	}
}

package correlator

import (
	"context"
	"errors"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// join folds the announced alerts in, so that the end of the scan finds most
// of the work done. What it misses, conclude reads.
func (c *Correlator) join(ctx context.Context, s correlate.State, a *event.Alerts) error {
	if s.Rejected != "" && s.Exited == nil {
		return nil
	}
	f, _ := c.folds.get(s.ScanID)
	if f == nil {
		if s.Announced > 0 {
			return nil // conclude starts it over from what is stored
		}
		f = correlate.NewFold()
	}
	defer func() { c.folds.put(s.ScanID, f) }()
	if len(a.Seqs) == 0 {
		_, err := c.catchUp(ctx, s.ScanID, f)
		return err
	}
	if f.Full() {
		return nil
	}
	return c.d.Alerts.Get(ctx, a.Seqs, func(e alerts.Entry) error {
		if e.Subject != "" && inScan(e.Subject, s.ScanID) {
			c.add(f, e)
		}
		return nil
	})
}

// inScan guards against an announcement that lists another scan's alerts.
func inScan(subject string, id scan.ID) bool {
	filter := alerts.ScanSubject(id)
	prefix := filter[:len(filter)-1]
	return len(subject) > len(prefix) && subject[:len(prefix)] == prefix
}

func (c *Correlator) add(f *correlate.Fold, e alerts.Entry) {
	effect := f.Add(correlate.Entry{Seq: e.Seq, Subject: e.Subject, Digest: e.Digest, Alert: e.Alert, Err: e.Err})
	if effect == correlate.Joined {
		c.count.delay.Observe(c.d.Now().Sub(e.Stored).Seconds())
	}
}

// catchUps bounds how often stored alerts that do not show yet are looked for,
// and catchUpPause parts the looks: a replica that answers may be behind.
const (
	catchUps     = 20
	catchUpPause = 10 * time.Millisecond
)

// catchUp reads what is stored of a scan and not yet in its fold, until a count
// finds nothing missing; the fold has then reached that count's sequence. It
// returns how many stored alerts the fold has no room for. Alerts that are
// counted and can't be read make a transient error.
func (c *Correlator) catchUp(ctx context.Context, id scan.ID, f *correlate.Fold) (unread int64, err error) {
	first, upTo, err := c.d.Alerts.Totals(ctx, alerts.ScanSubject(id))
	if err != nil {
		return 0, err
	}
	totals := first
	for try := range catchUps {
		if unread = missing(totals, f); unread == 0 || f.Full() {
			if !aged(totals, f) {
				f.Reach(upTo)
			}
			return unread, nil
		}
		if try > 0 {
			if err := pause(ctx, catchUpPause); err != nil {
				return 0, err
			}
		}
		for subject, total := range totals {
			if err := c.read(ctx, subject, total, f); err != nil {
				return 0, err
			}
		}
		if totals, upTo, err = c.d.Alerts.Totals(ctx, alerts.ScanSubject(id)); err != nil {
			return 0, err
		}
	}
	for subject, total := range first {
		first[subject] = min(total, totals[subject]) // alerts age out
	}
	if n := missing(first, f); n > 0 {
		return 0, fault.Errorf(fault.Transient, "correlator: scan %s: %d stored alerts can't be read yet", id, n)
	}
	return 0, nil // they come faster than they are read: their announcements follow
}

// missing returns how many of the counted alerts are not in the fold.
func missing(totals map[string]uint64, f *correlate.Fold) (n int64) {
	for subject, total := range totals {
		if have := f.Progress(subject).Count; have < total {
			n += int64(total - have)
		}
	}
	return n
}

// aged reports whether alerts in the fold are no longer stored, so that their
// number proves nothing.
func aged(totals map[string]uint64, f *correlate.Fold) bool {
	for subject, total := range totals {
		if f.Progress(subject).Count > total {
			return true
		}
	}
	return false
}

// read adds what a subject holds: first behind what was read of it, then, if
// that leaves gaps, from its start.
func (c *Correlator) read(ctx context.Context, subject string, total uint64, f *correlate.Fold) error {
	for _, from := range []uint64{f.Progress(subject).Last + 1, 1} {
		if f.Full() || f.Progress(subject).Count >= total {
			return nil
		}
		err := c.d.Alerts.Read(ctx, subject, from, func(e alerts.Entry) error {
			c.add(f, e)
			if f.Full() {
				return errFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
	}
	return nil
}

var errFull = errors.New("the fold is full")

// conclude brings the published result up to date with what is known: it
// stores a result or an amendment if there is anything new, and emits what was
// not emitted yet. The caller holds the scan's lock. again is a request to be
// emitted once the lock is released, nil for none: a broker may hand it to the
// runner, and what the runner emits to this function, before it answers.
func (c *Correlator) conclude(ctx context.Context, id scan.ID) (again *ce.Event, err error) {
	for range attempts {
		again, err := c.concludeOnce(ctx, id)
		if !errors.Is(err, results.ErrConflict) {
			return again, err
		}
		c.folds.drop(id) // another process is at it too
	}
	return nil, fault.New("correlator: scan "+string(id), fault.Transient, results.ErrConflict)
}

func (c *Correlator) concludeOnce(ctx context.Context, id scan.ID) (again *ce.Event, err error) {
	s, _, err := c.d.States.Load(ctx, id)
	if err != nil || !s.Ended() {
		return nil, err
	}
	prev, err := c.previous(ctx, id)
	if err != nil {
		return nil, err
	}
	if prev != nil && s.Announced < prev.Revision { // a crash came between Put and Emit
		if s, err = c.announce(ctx, s.Traceparent, *prev, 0); err != nil {
			return nil, err
		}
	}
	f, over, err := c.gather(ctx, s, prev)
	if err != nil {
		return nil, err
	}
	base, err := c.baseline(ctx, s, prev)
	if err != nil {
		return nil, err
	}
	next := correlate.Conclude(s, f, over, prev, base)
	if prev != nil && !correlate.Changed(*prev, next) {
		f.Cover()
		return c.again(s, *prev)
	}
	if err := c.d.Results.Put(ctx, next); err != nil {
		return nil, err
	}
	c.count.result(prev, next)
	if s, err = c.announce(ctx, s.Traceparent, next, f.Reached()); err != nil {
		return nil, err
	}
	f.Cover()
	return c.again(s, next)
}

// previous returns the stored result, nil if there is none.
func (c *Correlator) previous(ctx context.Context, id scan.ID) (*finding.Result, error) {
	r, err := c.d.Results.Get(ctx, id)
	if errors.Is(err, results.ErrNotFound) {
		return nil, nil
	}
	return &r, err
}

// gather returns the fold over all alerts of a scan.
func (c *Correlator) gather(ctx context.Context, s correlate.State, prev *finding.Result) (*correlate.Fold, correlate.Overflow, error) {
	f, _ := c.folds.get(s.ScanID)
	if f == nil {
		f = correlate.NewFold()
	}
	unread, err := c.catchUp(ctx, s.ScanID, f)
	if err != nil {
		return nil, correlate.Overflow{}, err
	}
	if prev != nil && f.Alerts() < prev.Counts.Alerts {
		// Stored alerts are gone that the result had: go on from the result.
		f = correlate.NewFoldOn(*prev, s.Cursor)
		if unread, err = c.catchUp(ctx, s.ScanID, f); err != nil {
			return nil, correlate.Overflow{}, err
		}
	}
	c.folds.put(s.ScanID, f)
	capped, err := c.d.Alerts.Capped(ctx, s.ScanID)
	return f, correlate.Overflow{Judged: capped.Judged, Noted: capped.Noted, Unread: unread}, err
}

// announce emits a stored result, as part of the scan's trace, and marks it as
// emitted. A cursor of 0 leaves the state's as it is.
func (c *Correlator) announce(ctx context.Context, traceparent string, r finding.Result, cursor uint64) (correlate.State, error) {
	typ := event.ScanFinished
	if r.Revision > 1 {
		typ = event.ScanAmended
	}
	eid := event.ID(typ, string(r.ScanID), strconv.Itoa(r.Revision))
	e, err := event.New(typ, event.Source(Name), string(r.ScanID), eid, c.d.Now().UTC(), r)
	if err != nil {
		return correlate.State{}, err
	}
	e.SetExtension(event.ExtScanID, string(r.ScanID))
	if traceparent != "" {
		e.SetExtension(event.ExtTraceparent, traceparent)
	}
	if err := c.d.Emit.Emit(ctx, e); err != nil {
		return correlate.State{}, err
	}
	return c.change(ctx, r.ScanID, func(s correlate.State) (correlate.State, bool) {
		if s.Announced >= r.Revision {
			return s, false
		}
		s.Announced, s.Cursor = r.Revision, max(s.Cursor, cursor)
		return s.Slimmed(), true
	})
}

// again makes the request that runs a scan once more whose sensor did not watch
// it to its end, nil for any other. The same result makes the same request,
// its time included: that is how the runner knows it from another.
func (c *Correlator) again(s correlate.State, r finding.Result) (*ce.Event, error) {
	if !s.Repeats(r) {
		return nil, nil
	}
	e, err := event.New(event.ScanRequested, event.Source(Name), string(s.ScanID), event.ID(event.ScanRequested, string(s.ScanID), "again"),
		r.Finished.UTC(), s.Exited.Request)
	if err != nil {
		return nil, err
	}
	e.SetExtension(event.ExtScanID, string(s.ScanID))
	if s.Traceparent != "" {
		e.SetExtension(event.ExtTraceparent, s.Traceparent)
	}
	return &e, nil
}

// repeat emits what again made, if anything, and remembers that it did. The
// caller holds no lock.
func (c *Correlator) repeat(ctx context.Context, id scan.ID, again *ce.Event) error {
	if again == nil {
		return nil
	}
	if err := c.d.Emit.Emit(ctx, *again); err != nil {
		return err
	}
	c.d.Log.Warn("a scan was not watched to its end, and is requested again", "scan_id", id)
	c.count.again.Inc()
	_, err := c.change(ctx, id, func(s correlate.State) (correlate.State, bool) {
		if !s.Again.IsZero() {
			return s, false
		}
		s.Again = c.d.Now()
		return s, true
	})
	return err
}

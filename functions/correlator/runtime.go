package correlator

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// emitters bounds the runtime alerts under way at once.
const emitters = 16

// other reports the alerts of a pod (or host) that belong to no scan, and
// drops them from the store: there they were only waiting.
func (c *Correlator) other(ctx context.Context, filter string) error {
	if tokens := strings.Split(filter, "."); len(tokens) != 5 || tokens[0] != "alerts" || tokens[1] != "other" || tokens[4] != ">" {
		return fault.Errorf(fault.Invalid, "correlator: %.80q is no subject of alerts without a scan", filter)
	}
	unlock, err := c.busy.lock(ctx, filter)
	if err != nil {
		return err
	}
	defer unlock()
	totals, _, err := c.d.Alerts.Totals(ctx, filter)
	if err != nil {
		return err
	}
	for subject := range totals {
		n, last, err := c.report(ctx, "", subject)
		if err != nil {
			return err
		}
		if last == 0 {
			continue
		}
		if err := c.d.Alerts.Drop(ctx, subject, last); err != nil {
			return err
		}
		c.count.unmatched.Add(float64(n))
	}
	return nil
}

// orphan reports the alerts of a scan that nothing else was heard of. They stay
// stored, and join if the scan turns up. The caller holds the scan's lock.
func (c *Correlator) orphan(ctx context.Context, id scan.ID) error {
	totals, _, err := c.d.Alerts.Totals(ctx, alerts.ScanSubject(id))
	if err != nil {
		return err
	}
	var total int64
	for subject := range totals {
		n, _, err := c.report(ctx, id, subject)
		if err != nil {
			return err
		}
		total += n
	}
	var more int64
	_, err = c.change(ctx, id, func(s correlate.State) (correlate.State, bool) {
		more = max(0, total-s.Orphans)
		s.Orphans += more
		return s, more > 0
	})
	if err == nil {
		c.count.unmatched.Add(float64(more))
	}
	return err
}

// refuse accounts for the alerts of a scan that was rejected. The caller holds
// the scan's lock.
func (c *Correlator) refuse(ctx context.Context, id scan.ID) error {
	totals, _, err := c.d.Alerts.Totals(ctx, alerts.ScanSubject(id))
	if err != nil {
		return err
	}
	var total, more int64
	for _, n := range totals {
		total += int64(n)
	}
	_, err = c.change(ctx, id, func(s correlate.State) (correlate.State, bool) {
		more = max(0, total-s.Refused)
		s.Refused += more
		return s, more > 0
	})
	if err == nil {
		c.count.refused.Add(float64(more))
	}
	return err
}

// report emits a runtime.alert for each alert of a subject whose content was
// not reported before; id is of the scan they name, if they name one. It returns
// how many entries the subject holds and the last one's sequence.
func (c *Correlator) report(ctx context.Context, id scan.ID, subject string) (n int64, last uint64, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(emitters)
	seen := map[string]bool{} // this time around; bounded by the store's limit per subject
	err = c.d.Alerts.Read(gctx, subject, 1, func(e alerts.Entry) error {
		n, last = n+1, e.Seq
		if e.Err != nil {
			c.d.Log.Error("a stored alert can't be read", "scan_id", id, "subject", subject, "seq", e.Seq, "error", e.Err)
			return nil
		}
		if !seen[e.Digest] {
			seen[e.Digest] = true
			g.Go(func() error { return c.reportOne(gctx, e) })
		}
		return nil
	})
	if gerr := g.Wait(); gerr != nil { // the cause, where err is that gctx ended
		err = gerr
	}
	return n, last, err
}

func (c *Correlator) reportOne(ctx context.Context, e alerts.Entry) error {
	if done, err := c.d.States.Reported(ctx, e.Digest); err != nil || done {
		return err
	}
	namespace, pod := e.Alert.Pod()
	subject := namespace + "/" + pod
	if subject == "/" {
		subject = "host/" + e.Alert.Hostname
	}
	ev, err := event.New(event.RuntimeAlert, event.Source(Name), printable(subject), event.ID(event.RuntimeAlert, e.Digest),
		c.d.Now().UTC(), event.Runtime{AlertID: e.Digest, Alert: e.Alert})
	if err != nil {
		return err
	}
	if err := c.d.Emit.Emit(ctx, ev); err != nil {
		return err
	}
	c.count.runtime.Inc()
	return c.d.States.Report(ctx, e.Digest)
}

// printable makes a CloudEvents attribute of a text that anybody may have
// chosen.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if len(s) > 512 {
		s = strings.ToValidUTF8(s[:512], "")
	}
	return s
}

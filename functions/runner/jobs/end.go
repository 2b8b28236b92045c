package jobs

import (
	"context"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// exited frees the slot of a sandbox that ended and starts the next scan.
func (r *Runner) exited(ctx context.Context, e ce.Event) error {
	x, err := event.Decode[event.Exited](e)
	if err != nil {
		return err
	}
	if err := r.free(ctx, x.Request.ID, x.Attempt); err != nil {
		return err
	}
	return r.advance(ctx, identity(e))
}

// rejected frees the slot of a scan that another function gave up. What the
// runner itself rejects has left the queue by then, and might be back.
func (r *Runner) rejected(ctx context.Context, e ce.Event) error {
	x, err := event.Decode[event.Rejected](e)
	if err != nil {
		return err
	}
	if x.By == runner.Name || e.Source() == event.Source(runner.Name) {
		return nil
	}
	if x.ScanID != "" {
		s, _, err := r.d.Queue.read(ctx)
		if err != nil {
			return err
		}
		if in := s.find(x.ScanID); in != nil {
			if err := r.free(ctx, x.ScanID, in.Attempt); err != nil {
				return err
			}
		}
	}
	return r.advance(ctx, identity(e))
}

// free takes an attempt that ended out of the queue.
func (r *Runner) free(ctx context.Context, id scan.ID, attempt int) error {
	changed := false
	s, err := r.d.Queue.change(ctx, func(s *state) (bool, error) {
		changed = s.ended(id, attempt)
		return changed, nil
	})
	if err != nil || !changed {
		return err
	}
	r.d.Metrics.observe(s)
	return r.d.Queue.forget(ctx, id, attempt)
}

// orphanAge is how long a Job may be there without an entry before it is taken
// for one that nobody waits for.
const orphanAge = 2 * time.Minute

// sweep compares the queue with the Jobs that exist. It makes up for ends that
// nobody told of and for Jobs whose scan was given up while they were created,
// and takes up what killed runners left.
func (r *Runner) sweep(ctx context.Context, by string) error {
	jobs, err := r.d.Cluster.List(ctx)
	if err != nil {
		r.d.Log.Warn("the sweep can't see the cluster's Jobs", "error", err)
		return r.advance(ctx, by)
	}
	s, _, err := r.d.Queue.read(ctx)
	if err != nil {
		return err
	}
	type attempt struct {
		id scan.ID
		n  int
	}
	queued, alive, now := map[attempt]bool{}, map[attempt]bool{}, r.d.Now()
	for _, e := range s.Entries {
		queued[attempt{e.ID, e.Attempt}] = true
	}
	for _, j := range jobs {
		at := attempt{j.ID, j.Attempt}
		alive[at] = !j.Ended
		if !j.Ended && !queued[at] && now.Sub(j.Created) > orphanAge {
			r.d.Log.Warn("a Job that nobody waits for is deleted", "scan_id", j.ID, "attempt", j.Attempt)
			if err := r.d.Cluster.Delete(ctx, j.ID, j.Attempt); err != nil {
				return err
			}
		}
	}
	for _, e := range s.Entries {
		if e.Phase != running || alive[attempt{e.ID, e.Attempt}] || now.Before(e.Until.Add(Overdue)) {
			continue
		}
		r.d.Log.Warn("nobody told of a scan's end, its slot is taken back", "scan_id", e.ID, "attempt", e.Attempt)
		if err := r.free(ctx, e.ID, e.Attempt); err != nil {
			return err
		}
	}
	return r.advance(ctx, by)
}

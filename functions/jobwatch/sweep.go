package jobwatch

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/falconer-sec/falconer/pkg/runs"
)

// Sweep tells the ends that no event told of, and ends what does not start. One
// attempt's error does not keep it from the others; it returns them joined.
func (w *Watch) Sweep(ctx context.Context) error {
	// Marks are read before Jobs and records: what is told meanwhile is told
	// again, with the same ID, rather than taken for lost.
	told, err := w.d.Marks.All(ctx)
	if err != nil {
		return err
	}
	records, err := w.d.Runs.List(ctx)
	if err != nil {
		return err
	}
	list, err := w.d.Cluster.Jobs(ctx)
	if err != nil {
		return err
	}
	jobs := map[string]*batchv1.Job{}
	for i := range list {
		jobs[list[i].Name] = &list[i]
	}
	var errs []error
	for _, run := range records {
		if run.GivenUp != "" || told[MarkKey(run.Request.ID, run.Attempt)] {
			continue
		}
		if err := w.examine(ctx, run, jobs[run.Job]); err != nil {
			errs = append(errs, fmt.Errorf("scan %s: %w", run.Request.ID, err))
		}
	}
	return errors.Join(errs...)
}

// examine looks at an attempt whose end was not told.
func (w *Watch) examine(ctx context.Context, run runs.Run, job *batchv1.Job) error {
	now := w.d.Now()
	var end *ending
	switch {
	case job == nil && now.Sub(run.Created) < NoJobAfter:
		return nil
	case job == nil:
		// The list is older than the record, perhaps.
		var err error
		if job, err = w.d.Cluster.Job(ctx, run.Job); err != nil && !errors.Is(err, ErrNoJob) {
			return err
		}
		if err == nil {
			return w.examine(ctx, run, job)
		}
		job, end = nil, &ending{reason: lost, code: -1, detail: "the Job is gone, and nobody saw it end"}
	case condition(job) != nil:
	case now.Sub(job.CreationTimestamp.Time) < NoPodAfter:
		return nil
	default:
		var err error
		if end, err = w.stuck(ctx, job); err != nil || end == nil {
			return err
		}
	}
	return w.conclude(ctx, run.Request.ID, run.Attempt, job, end)
}

// stuck returns the end of a Job that does not start, nil for one that may.
func (w *Watch) stuck(ctx context.Context, job *batchv1.Job) (*ending, error) {
	s, err := w.look(ctx, job)
	if err != nil || done(s.pod) {
		return nil, err
	}
	since := w.d.Now().Sub(job.CreationTimestamp.Time)
	why := ""
	switch {
	case s.pod == nil && job.Status.Active == 0 && len(s.events) == 0:
		if why = refused(s.job); why == "" {
			why = fmt.Sprintf("the Job has no pod after %d s, and nothing says why", int(since.Seconds()))
		}
	case s.pod != nil && since >= NotStartedAfter:
		if why = pending(s.pod); why != "" {
			why = fmt.Sprintf("the pod did not start within %d s: %s", int(NotStartedAfter.Seconds()), why)
		}
	}
	if why == "" {
		return nil, nil
	}
	return &ending{reason: lost, code: -1, detail: why, remove: true}, nil
}

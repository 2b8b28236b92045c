//go:build cluster

package cluster

import (
	"context"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// sighting is a scan's first Job, and when the API server told of it.
type sighting struct {
	job batchv1.Job
	at  time.Time
}

// sightings notes the Jobs of scans from before the first push on: a webhook may
// be answered long after the Job that it led to.
type sightings struct {
	mu   sync.Mutex
	seen map[scan.ID]sighting
}

// watchJobs notes Jobs until the test ends.
func (r *rig) watchJobs() *sightings {
	r.Helper()
	s := &sightings{seen: map[scan.ID]sighting{}}
	w, err := r.k8s.BatchV1().Jobs(sandboxes).Watch(r.Context(), metav1.ListOptions{LabelSelector: scanLabel})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	var watching sync.WaitGroup
	watching.Go(func() { r.follow(ctx, s, w) })
	r.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return s
}

// follow watches, again where the API server ends a watch.
func (r *rig) follow(ctx context.Context, s *sightings, w watch.Interface) {
	for {
		s.drain(ctx, w)
		w.Stop()
		for again := true; again; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			next, err := r.k8s.BatchV1().Jobs(sandboxes).Watch(ctx, metav1.ListOptions{LabelSelector: scanLabel})
			if err == nil {
				w, again = next, false
			}
		}
	}
}

func (s *sightings) drain(ctx context.Context, w watch.Interface) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.ResultChan():
			if !ok {
				return
			}
			job, isJob := e.Object.(*batchv1.Job)
			if !isJob || e.Type == watch.Deleted {
				continue
			}
			s.mu.Lock()
			if id := scan.ID(job.Labels[scanLabel]); s.seen[id].at.IsZero() {
				s.seen[id] = sighting{job: *job, at: time.Now()}
			}
			s.mu.Unlock()
		}
	}
}

// job waits for the Job of a scan's first attempt and returns it with the time
// at which it was seen.
func (r *rig) job(id scan.ID, limit time.Duration) (batchv1.Job, time.Time) {
	r.Helper()
	var got sighting
	r.eventually(limit, "the Job of scan "+string(id), func() bool {
		r.jobs.mu.Lock()
		defer r.jobs.mu.Unlock()
		got = r.jobs.seen[id]
		return !got.at.IsZero()
	})
	return got.job, got.at
}

package depot

import (
	"context"
	"time"
)

// How often logs are stored and idle registries are looked for.
const (
	flushEvery = 250 * time.Millisecond
	evictEvery = time.Minute
)

// Run stores logs a moment after they changed, and closes registries that idle,
// until ctx ends; then it stores what is left.
func (d *Depot) Run(ctx context.Context) {
	flush, evict := time.NewTicker(flushEvery), time.NewTicker(evictEvery)
	defer flush.Stop()
	defer evict.Stop()
	for {
		select {
		case <-ctx.Done():
			d.Flush(context.WithoutCancel(ctx))
			return
		case <-flush.C:
			d.Flush(ctx)
		case <-evict.C:
			d.sessions.evictIdle()
		}
	}
}

// Flush stores every log that has changed.
func (d *Depot) Flush(ctx context.Context) {
	for _, s := range d.sessions.all() {
		if err := s.flush(ctx); err != nil {
			d.c.Log.Warn("log of fetches not stored, will be tried again", "scan_id", s.id, "error", err)
		}
	}
}

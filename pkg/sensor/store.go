package sensor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

// batch and queue sizes of the way to the alert store.
const (
	queueSize = 1024
	batchSize = 256
	putTries  = 5
)

// store hands alerts to the sink in batches, on a goroutine of its own. A full
// queue blocks put, which stops the sandbox until there is room.
type store struct {
	c       Config
	bait    bait
	queue   chan falco.Alert
	done    chan struct{}
	perRule map[capKey]int
	total   int
	stored  atomic.Int64
	capped  atomic.Int64
	mu      sync.Mutex
	failure error
}

type capKey struct{ rule, purl string }

func newStore(c Config) *store {
	return &store{c: c, queue: make(chan falco.Alert, queueSize), done: make(chan struct{}), perRule: map[capKey]int{}}
}

func (s *store) start(ctx context.Context) { go s.loop(ctx) }

// close waits until everything queued is stored, or has failed.
func (s *store) close() {
	close(s.queue)
	<-s.done
}

// put queues an alert unless its rule and package have had their share.
func (s *store) put(ctx context.Context, rule *rules.Rule, p *Process, a falco.Alert) {
	key := capKey{rule.Name, p.place.Package.PURL}
	if s.perRule[key] >= MaxPerRule || s.total >= MaxAlerts {
		s.capped.Add(1)
		return
	}
	s.perRule[key]++
	s.total++
	select {
	case s.queue <- s.bait.without(a):
	case <-ctx.Done():
		s.fail(ctx.Err())
	}
}

func (s *store) loop(ctx context.Context) {
	defer close(s.done)
	batch := make([]falco.Alert, 0, batchSize)
	for a := range s.queue {
		batch = append(batch[:0], a)
	fill:
		for len(batch) < batchSize {
			select {
			case a, ok := <-s.queue:
				if !ok {
					break fill
				}
				batch = append(batch, a)
			default:
				break fill
			}
		}
		s.flush(ctx, batch)
	}
}

// flush stores one batch, with retries; storing twice is harmless, since alerts
// are deduplicated by content.
func (s *store) flush(ctx context.Context, batch []falco.Alert) {
	var err error
	for try := range putTries {
		if err = s.c.Alerts.Put(ctx, s.c.ScanID, batch); err == nil {
			s.stored.Add(int64(len(batch)))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond << try):
		}
	}
	s.fail(err)
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
}

func (s *store) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

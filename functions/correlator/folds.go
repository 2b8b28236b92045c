package correlator

import (
	"container/list"
	"context"
	"sync"

	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// folds caches the folds of the scans that were heard of last, up to a bound
// of memory. Losing one costs reading its alerts again. A fold is used only by
// the holder of its scan's lock.
type folds struct {
	mu    sync.Mutex
	limit int
	used  int
	order *list.List // of *cached, latest in front
	byID  map[scan.ID]*list.Element
}

type cached struct {
	id    scan.ID
	fold  *correlate.Fold
	bytes int
}

func newFolds(limit int) *folds {
	return &folds{limit: limit, order: list.New(), byID: map[scan.ID]*list.Element{}}
}

func (c *folds) get(id scan.ID) (*correlate.Fold, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).fold, true
}

// put stores a fold, new or grown, and forgets the oldest ones beyond the limit.
func (c *folds) put(id scan.ID, f *correlate.Fold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(id)
	n := &cached{id: id, fold: f, bytes: f.Bytes()}
	c.byID[id] = c.order.PushFront(n)
	c.used += n.bytes
	for c.used > c.limit && c.order.Len() > 1 {
		c.remove(c.order.Back().Value.(*cached).id)
	}
}

func (c *folds) drop(id scan.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(id)
}

func (c *folds) remove(id scan.ID) {
	el, ok := c.byID[id]
	if !ok {
		return
	}
	c.used -= el.Value.(*cached).bytes
	c.order.Remove(el)
	delete(c.byID, id)
}

// locks lets one handler at a time work on a scan.
type locks struct {
	mu   *sync.Mutex
	held map[string]*turn
}

type turn struct {
	free    chan struct{} // holds a token while nobody works
	waiting int
}

func newLocks() locks { return locks{mu: &sync.Mutex{}, held: map[string]*turn{}} }

// lock waits for its turn; its error, when ctx ends first, is transient.
func (l locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	t := l.held[key]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		l.held[key] = t
	}
	t.waiting++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(l.held, key)
		}
	}
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fault.New("correlator: wait for scan "+key, fault.Transient, ctx.Err())
	}
}

package depot

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// sessions are the scans whose registry is at hand: at most a number of them,
// the one that was idle longest makes way.
type sessions struct {
	limits Limits
	now    func() time.Time
	open   func(ctx context.Context, g grant) (*session, error)

	mu   sync.Mutex
	list map[string]*slot
}

// slot is a session, or one that is being opened.
type slot struct {
	ready   chan struct{} // closed once session or err is set
	session *session
	err     error
	users   int       // requests under way, openings included
	left    time.Time // when the last user left
}

func newSessions(l Limits, now func() time.Time, open func(context.Context, grant) (*session, error)) *sessions {
	return &sessions{limits: l, now: now, open: open, list: map[string]*slot{}}
}

func sessionKey(id scan.ID, attempt int) string { return fmt.Sprintf("%s/%d", id, attempt) }

// errFull is the refusal while every place is taken by a scan that is busy.
var errFull = fault.Errorf(fault.Transient, "depot: too many scans at once")

// openTimeout bounds reading a scan's source.
const openTimeout = 3 * time.Minute

// acquire returns the scan's session, opening it if need be; the caller calls
// release. Errors of the opening are given to all who wait for it, and the next
// one tries again.
func (ss *sessions) acquire(ctx context.Context, g grant) (s *session, release func(), err error) {
	key := sessionKey(g.id, g.attempt)
	ss.mu.Lock()
	sl := ss.list[key]
	if sl == nil {
		if len(ss.list) >= ss.limits.Sessions && !ss.evictOldest() {
			ss.mu.Unlock()
			return nil, nil, errFull
		}
		sl = &slot{ready: make(chan struct{})}
		ss.list[key] = sl
		go ss.fill(context.WithoutCancel(ctx), key, sl, g)
	}
	sl.users++
	ss.mu.Unlock()
	release = func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		sl.users--
		sl.left = ss.now()
	}
	select {
	case <-sl.ready:
	case <-ctx.Done():
		release()
		return nil, nil, fault.New("depot: open scan", fault.Transient, ctx.Err())
	}
	if sl.err != nil {
		release()
		return nil, nil, sl.err
	}
	return sl.session, release, nil
}

// fill opens a session for all who wait.
func (ss *sessions) fill(ctx context.Context, key string, sl *slot, g grant) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	sl.session, sl.err = ss.open(ctx, g)
	if sl.err != nil {
		ss.mu.Lock()
		delete(ss.list, key)
		ss.mu.Unlock()
	}
	close(sl.ready)
}

// evictOldest makes room. ss.mu is held.
func (ss *sessions) evictOldest() bool {
	var oldest string
	for key, sl := range ss.list {
		if sl.idle() && (oldest == "" || sl.left.Before(ss.list[oldest].left)) {
			oldest = key
		}
	}
	delete(ss.list, oldest)
	return oldest != ""
}

// evictIdle closes what nobody has used for a while.
func (ss *sessions) evictIdle() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for key, sl := range ss.list {
		if sl.idle() && ss.now().Sub(sl.left) >= ss.limits.Idle {
			delete(ss.list, key)
		}
	}
}

// opened returns the slot's session, nil while there is none.
func (sl *slot) opened() *session {
	select {
	case <-sl.ready:
		return sl.session
	default:
		return nil
	}
}

// idle reports whether the slot can be given up without losing anything: nobody
// uses it and its log is stored. sessions.mu is held.
func (sl *slot) idle() bool {
	s := sl.opened()
	return sl.users == 0 && s != nil && s.settled()
}

// peek returns a session that is open, nil if there is none.
func (ss *sessions) peek(id scan.ID, attempt int) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if sl := ss.list[sessionKey(id, attempt)]; sl != nil {
		return sl.opened()
	}
	return nil
}

// all returns the open sessions.
func (ss *sessions) all() (out []*session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, sl := range ss.list {
		if s := sl.opened(); s != nil {
			out = append(out, s)
		}
	}
	return out
}

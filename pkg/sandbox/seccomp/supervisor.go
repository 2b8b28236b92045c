package seccomp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// supervisor decides on each observed system call, one after the other, so
// that records are in the order in which things happened.
type supervisor struct {
	l     listener
	plan  plan
	sink  *sink
	start int64 // nanoseconds since 1970: what changed later was written in the run
	env   map[string]bool
	ends  int // epoll set of pidfds

	mu        sync.Mutex // everything below
	table     *table
	listening map[uint16]bool // ports that the run's own processes listen on
	ending    bool            // no process may be born any more
	thread    int             // the one that serves
	calls     int64           // served
	lastCalls int64           // calls at the last tick
	counts    counts
}

// counts is what a run can't be called complete with.
type counts struct {
	Unreadable int64 `json:"unreadable"` // calls whose arguments could not be read
	Foreign    int64 `json:"foreign"`    // 32-bit system calls, refused
	Refused    int64 `json:"refused"`    // connections and sends, refused
	Forks      int64 `json:"forks"`      // forks refused beyond the limit
	Nudges     int64 `json:"nudges"`     // times that the supervisor slept while calls waited
}

func newSupervisor(l listener, p plan, s *sink, launcher int) (*supervisor, error) {
	ends, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	v := &supervisor{l: l, plan: p, sink: s, start: time.Now().UnixNano(), env: map[string]bool{}, listening: map[uint16]bool{}, ends: ends}
	for _, name := range p.Env {
		v.env[name] = true
	}
	v.table = newTable(launcher, s.send, v.watch)
	return v, nil
}

// serve answers until no process is left, which is no error. It must run on a
// thread of its own.
func (s *supervisor) serve() error {
	s.l.hurry()
	s.mu.Lock()
	s.thread = unix.Gettid()
	s.mu.Unlock()
	var n notification
	for {
		if err := s.l.next(&n); errors.Is(err, errAbandoned) {
			return nil
		} else if err != nil {
			return fmt.Errorf("take a system call: %w", err)
		}
		s.mu.Lock()
		errno := s.decide(&n)
		s.calls++
		s.mu.Unlock()
		if err := s.l.answer(n.ID, errno); err != nil {
			return fmt.Errorf("answer a system call: %w", err)
		}
	}
}

// watch opens a process's pidfd and has its end noticed, however it ends.
func (s *supervisor) watch(p *proc) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return // gone
	}
	p.pidfd = fd
	// Closing the descriptor takes it out of the set again.
	_ = unix.EpollCtl(s.ends, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.pid)})
}

// bury takes processes out of the table as they end. It never returns.
func (s *supervisor) bury() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(s.ends, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		s.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if p := s.table.byPID[int(e.Fd)]; p != nil && hasEnded(p.pidfd) {
				s.table.ended(p)
			}
		}
		s.mu.Unlock()
	}
}

func hasEnded(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(p, 0) // 0 at an error
	return n > 0
}

// call is one system call being looked at.
type call struct {
	memory
	s *supervisor
	n *notification
	p *proc
}

func (c *call) resolver() resolver { return resolver{pid: c.p.pid, tid: c.tid} }

// decide reports the call and says how it ends: 0 to let it happen.
func (s *supervisor) decide(n *notification) unix.Errno {
	if n.Arch != unix.AUDIT_ARCH_X86_64 || n.NR >= x32 {
		s.counts.Foreign++
		return unix.ENOSYS
	}
	tid := int(n.PID)
	p := s.table.of(tid)
	if p == nil {
		return 0 // killed meanwhile
	}
	c := &call{memory: memory{tid: tid}, s: s, n: n, p: p}
	switch n.NR {
	case unix.SYS_CLONE, unix.SYS_FORK, unix.SYS_VFORK:
		return s.fork(p)
	case unix.SYS_EXIT, unix.SYS_EXIT_GROUP:
		s.table.settle(p)
		delete(s.table.byTID, tid)
		return 0
	case unix.SYS_PRCTL:
		if tid == p.pid {
			p.renamed(c.text(n.Args[1], 16))
		}
		return 0
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
		return c.exec()
	}
	pt, ok := points[int(n.NR)]
	if !ok {
		return 0
	}
	r := p.record(pt.name, tid)
	errno := pt.fill(c, r)
	return c.tell(r, errno)
}

// tell sends the record if the call still waits: only then was it this call's
// process that was looked at.
func (c *call) tell(r *record.Record, errno unix.Errno) unix.Errno {
	if c.quiet(r) && errno == 0 && !c.broken {
		return 0
	}
	if !c.s.l.valid(c.n.ID) {
		return errno
	}
	if c.broken {
		c.s.counts.Unreadable++
	}
	if errno != 0 {
		r.HasResult, r.Result = true, -int64(errno)
	}
	if r.Kind != "" {
		c.s.sink.send(r)
	}
	return errno
}

// fork counts the child that is about to be born, or refuses it.
func (s *supervisor) fork(p *proc) unix.Errno {
	if s.ending || s.table.size() >= s.plan.Processes {
		s.counts.Forks++
		return unix.EAGAIN
	}
	p.forks++
	p.forked = time.Now()
	return 0
}

// tick does what no call causes, and says which limit is exceeded, "" for
// none. Reading what thousands of processes use takes long; calls go on
// meanwhile.
func (s *supervisor) tick(now time.Time) string {
	s.mu.Lock()
	s.table.sweep(now)
	s.nudge()
	pids := slices.Collect(maps.Keys(s.table.byPID))
	s.mu.Unlock()
	if private(pids) > s.plan.MemoryBytes {
		return fmt.Sprintf("more than %d MiB of memory", s.plan.MemoryBytes>>20)
	}
	return ""
}

// nudge wakes the serving thread if a call waits and none was served since the
// last tick: the run does not hang on one missed wake-up. A signal makes the
// kernel look again.
func (s *supervisor) nudge() {
	if s.calls == s.lastCalls && s.thread != 0 && s.l.waiting() {
		s.counts.Nudges++
		_ = unix.Tgkill(unix.Getpid(), s.thread, unix.SIGURG)
	}
	s.lastCalls = s.calls
}

// end refuses births from now on.
func (s *supervisor) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
}

// finish tells of the ends not told yet and returns the counts. It is called
// when all processes have gone.
func (s *supervisor) finish() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.table.byPID {
		p.forks = 0
		s.table.ended(p)
	}
	s.table.buried(func(*proc) bool { return true })
	s.ending = true
	return s.counts
}

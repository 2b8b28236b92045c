package seccomp

import (
	"maps"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// firstPID is what the package manager's process is called in records.
const firstPID = 1

// table is the processes of one run. Who descends from whom is kept as it was
// at birth: a process whose parent ended before its own first call is joined
// to the one that forked and whose child had not been seen.
type table struct {
	launcher int // everything orphaned becomes its child
	byPID    map[int]*proc
	byTID    map[int]int
	dead     []*proc // ended with forks > 0: their exit is not told yet
	emit     func(*record.Record)
	watch    func(*proc)
}

func newTable(launcher int, emit func(*record.Record), watch func(*proc)) *table {
	return &table{launcher: launcher, byPID: map[int]*proc{}, byTID: map[int]int{}, emit: emit, watch: watch}
}

// of returns the process that a thread belongs to, nil if it has gone.
func (t *table) of(tid int) *proc {
	if p := t.byPID[t.byTID[tid]]; p != nil {
		return p
	}
	s, ok := readStatus(tid)
	if !ok || s.zombie && s.tgid != tid {
		return nil
	}
	p := t.byPID[s.tgid]
	if p == nil {
		if p = t.discover(s.tgid, s); p == nil {
			return nil
		}
	}
	t.byTID[tid] = p.pid
	return p
}

// start enters the first process.
func (t *table) start(pid int) {
	s, _ := readStatus(pid) // our own child, not waited for
	p := &proc{pid: pid, seen: firstPID, comm: s.name, uid: s.uid, gid: s.gid, pidfd: -1}
	t.byPID[pid] = p
	t.watch(p)
}

// discover enters a process that was not known and tells of its birth.
func (t *table) discover(pid int, s status) *proc {
	p := &proc{pid: pid, seen: int32(pid), comm: s.name, uid: s.uid, gid: s.gid, pidfd: -1}
	t.watch(p)
	if p.pidfd < 0 {
		return nil // gone
	}
	t.buried(func(d *proc) bool { return d.pid == pid }) // its number is in use again
	t.byPID[pid] = p
	parent := t.byPID[s.ppid]
	if parent == nil {
		parent = t.adopter()
	}
	if parent == nil {
		return p
	}
	p.parent = parent.seen
	parent.forks = max(0, parent.forks-1)
	r := parent.record(record.KindClone, parent.pid)
	r.ChildTID, r.ChildTGID, r.HasResult, r.Result = p.seen, p.seen, true, int64(p.seen)
	t.emit(r)
	return p
}

// adopter is the likely parent of a process that has lost its own: the last
// one to end with a child unseen.
func (t *table) adopter() *proc {
	for _, d := range slices.Backward(t.dead) {
		if d.forks > 0 {
			return d
		}
	}
	return nil
}

// settle finds the children of a process that were not seen yet, while it can
// still be asked.
func (t *table) settle(p *proc) {
	if p.forks == 0 {
		return
	}
	for _, pid := range childrenOf(p.pid) {
		t.seen(pid)
	}
}

func (t *table) seen(pid int) {
	if t.byPID[pid] != nil {
		return
	}
	if s, ok := readStatus(pid); ok && s.tgid == pid && !s.zombie {
		t.discover(pid, s)
	}
}

// forget drops what is known of a process's threads: after an exec they are
// others.
func (t *table) forget(p *proc) {
	maps.DeleteFunc(t.byTID, func(_, pid int) bool { return pid == p.pid })
}

// ended takes a process out and tells of its end, unless its children are
// still to be found.
func (t *table) ended(p *proc) {
	if t.byPID[p.pid] != p {
		return
	}
	delete(t.byPID, p.pid)
	t.forget(p)
	_ = unix.Close(p.pidfd)
	p.died = time.Now()
	if p.forks > 0 {
		t.dead = append(t.dead, p)
		return
	}
	t.emit(p.record(record.KindExit, p.pid))
}

// buried tells of the end of those dead that which selects.
func (t *table) buried(which func(*proc) bool) {
	t.dead = slices.DeleteFunc(t.dead, func(p *proc) bool {
		if !which(p) {
			return false
		}
		t.emit(p.record(record.KindExit, p.pid))
		return true
	})
}

// sweepAge is how long a fork may go without its child being seen.
const sweepAge = 100 * time.Millisecond

// sweep finds processes that have made no call yet, and gives up on forks that
// have failed.
func (t *table) sweep(now time.Time) {
	for _, p := range slices.Collect(maps.Values(t.byPID)) { // settle adds to the map
		if p.forks > 0 && now.Sub(p.forked) > sweepAge {
			t.settle(p)
			p.forks = 0
		}
	}
	for _, pid := range childrenOf(t.launcher) {
		t.seen(pid)
	}
	t.buried(func(p *proc) bool { return p.forks == 0 || now.Sub(p.died) > sweepAge })
}

// size is the number of processes, those not seen yet included.
func (t *table) size() int {
	n := len(t.byPID)
	for _, p := range t.byPID {
		n += p.forks
	}
	return n
}

// record begins a record of what a thread of p does.
func (p *proc) record(kind string, tid int) *record.Record {
	r := &record.Record{Kind: kind, TimeNS: time.Now().UnixNano(), TID: int32(tid), TGID: p.seen, PTGID: p.parent, UID: p.uid, GID: p.gid, Comm: p.comm}
	if tid == p.pid {
		r.TID = p.seen
	}
	return r
}

// renamed notes the name that a main thread gave itself.
func (p *proc) renamed(name string) { p.comm = name[:min(len(name), 15)] } // TASK_COMM_LEN

// executed notes that the process becomes another program.
func (p *proc) executed(name string) { p.comm = path.Base(name) }

package runtime

import (
	"maps"
	"sort"
	"time"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/timerfd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/ktime"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

const (
	// sampleEvery is how often the skipper looks, and quietSamples how many looks
	// in a row have to find everything asleep in the same waits.
	sampleEvery  = 50 * time.Millisecond
	quietSamples = 4
	// minSkip is the shortest wait that is worth a skip, and maxSkips how many
	// there are at most.
	minSkip  = 100 * time.Millisecond
	maxSkips = 20_000
	// longWait is what is reported: nothing that builds has to wait for so long.
	longWait = 5 * time.Second
)

// skipper puts the clocks forward to the next timer when nothing in the sandbox
// will happen before it: every task waits, none for the host, and nothing went
// to or from the registry for a while. Whoever waits an hour is watched after it
// all the same.
//
// Pollsters, which wait for what outlives the install, live in real time: they
// can't keep the others from being put forward, and their patience does not
// shrink.
type skipper struct {
	k     *kernel.Kernel
	g     *guise
	left  time.Duration
	count int
	// began is when each wait was seen first, by the sandbox's monotonic clock.
	began map[wait]ktime.Time
	tasks []*kernel.Task
}

// wait is one wait of a task, told from its next by when it ends.
type wait struct {
	t   *kernel.Task
	end ktime.Time
}

// pending is a timer that runs.
type pending struct {
	wait
	in time.Duration
	// look makes the timer look at its clock, fire if it is time, and count on.
	look func()
}

// poll is the wait of a pollster.
type poll struct {
	timer *ktime.SampledTimer
	end   ktime.Time
}

// postpone makes up for the skip that comes, unless the wait has ended.
func (p poll) postpone(by time.Duration) {
	guarded(func() {
		if _, setting := p.timer.Get(); setting.Enabled && setting.Next == p.end {
			p.timer.Set(ktime.Setting{Enabled: true, Next: p.end.Add(by)}, nil)
		}
	})
}

// look makes the timer count on from the clock as it is now.
func (p poll) look() { guarded(func() { p.timer.Get() }) }

func newSkipper(k *kernel.Kernel, g *guise) *skipper {
	return &skipper{k: k, g: g, left: time.Duration(g.options.SkipS) * time.Second, began: map[wait]ktime.Time{}}
}

// run never returns: the kernel's process ends with its last task.
func (s *skipper) run() {
	var quiet int
	var last map[*kernel.Task]ktime.Time
	for range time.Tick(sampleEvery) {
		ends, asleep := s.sample()
		if !asleep || !maps.Equal(ends, last) {
			quiet, last = 0, ends
			continue
		}
		if quiet++; quiet == quietSamples {
			s.skip()
			quiet, last = 0, nil
		}
	}
}

// sample tells when the waits of all tasks but the pollsters end; false if one
// of them does something.
func (s *skipper) sample() (map[*kernel.Task]ktime.Time, bool) {
	if s.g.traffic.busy() {
		return nil, false
	}
	s.tasks = s.k.TaskSet().Root.TasksAppend(s.tasks[:0])
	defer clear(s.tasks)
	for _, t := range s.tasks { // what a busy sandbox costs
		if !waits(t) && !s.pollster(t) {
			return nil, false
		}
	}
	now := s.k.MonotonicClock().Now()
	ends := make(map[*kernel.Task]ktime.Time, len(s.tasks))
	began := make(map[wait]ktime.Time, len(s.began))
	for _, t := range s.tasks {
		if s.pollster(t) || t.ExitState() != kernel.TaskExitNone {
			continue
		}
		ends[t] = ktime.MaxTime
		timer, ok := blockingTimer(t)
		if !ok {
			continue
		}
		if p, ok := s.blocking(t, timer); ok {
			ends[t], began[p.wait] = p.end, now
			if first, ok := s.began[p.wait]; ok {
				began[p.wait] = first
			}
		}
	}
	s.began = began
	return ends, len(ends) > 0
}

// waits reports whether a task does nothing until something wakes it.
func waits(t *kernel.Task) bool {
	switch t.TaskGoroutineState() {
	case kernel.TaskGoroutineBlockedInterruptible, kernel.TaskGoroutineStopped:
		return true
	}
	return t.ExitState() >= kernel.TaskExitZombie
}

func (s *skipper) tgid(t *kernel.Task) int32 {
	return int32(s.k.TaskSet().Root.IDOfThreadGroup(t.ThreadGroup()))
}

func (s *skipper) pollster(t *kernel.Task) bool { return s.g.pollsters.has(s.tgid(t)) }

// blocking is a task's own timer, if it runs and runs on one of our clocks.
func (s *skipper) blocking(t *kernel.Task, timer *ktime.SampledTimer) (pending, bool) {
	var now ktime.Time
	var setting ktime.Setting
	look := func() { guarded(func() { now, setting = timer.Get() }) }
	look()
	ours := timer.Clock() == s.k.MonotonicClock() || timer.Clock() == s.k.RealtimeClock()
	return pending{wait{t, setting.Next}, setting.Next.Sub(now), look}, setting.Enabled && ours
}

// guarded calls a method of a timer, which panics, locks released, if the
// timer's task ended in between.
func guarded(f func()) {
	defer func() { _ = recover() }()
	f()
}

// timers lists the timers that run: those of waits and those that processes
// set themselves.
func (s *skipper) timers() (running []pending, polls []poll) {
	s.tasks = s.k.TaskSet().Root.TasksAppend(s.tasks[:0])
	defer clear(s.tasks)
	tables := map[*kernel.FDTable]bool{}
	for _, t := range s.tasks {
		if t.ExitState() != kernel.TaskExitNone {
			continue
		}
		if timer, ok := blockingTimer(t); ok {
			p, ok := s.blocking(t, timer)
			switch {
			case ok && s.pollster(t):
				polls = append(polls, poll{timer, p.end})
			case ok:
				running = append(running, p)
			}
		}
		if s.pollster(t) {
			continue
		}
		running = append(running, s.intervals(t)...)
		var table *kernel.FDTable
		t.WithMuLocked(func(t *kernel.Task) { table = t.FDTable() })
		if table != nil && !tables[table] {
			tables[table] = true
			running = append(running, s.descriptors(t, table)...)
		}
	}
	return running, polls
}

// maxTimerID bounds the POSIX timers that are looked at, of one process.
const maxTimerID = 32

// intervals are the timers of setitimer and timer_create.
func (s *skipper) intervals(t *kernel.Task) (out []pending) {
	if t.ThreadGroup().Leader() != t {
		return nil
	}
	add := func(in time.Duration, look func()) {
		if in > 0 {
			out = append(out, pending{wait{t, s.k.MonotonicClock().Now().Add(in)}, in, look})
		}
	}
	if v, err := t.Getitimer(linux.ITIMER_REAL); err == nil {
		add(v.Value.ToDuration(), func() { _, _ = t.Getitimer(linux.ITIMER_REAL) })
	}
	for id := linux.TimerID(0); id < maxTimerID; id++ {
		if v, err := t.IntervalTimerGettime(id); err == nil {
			add(v.Value.ToDuration(), func() { _, _ = t.IntervalTimerGettime(id) })
		}
	}
	return out
}

// descriptors are the timers of timerfd_create.
func (s *skipper) descriptors(t *kernel.Task, table *kernel.FDTable) (out []pending) {
	table.ForEach(s.k.SupervisorContext(), func(_ int32, file *vfs.FileDescription, _ kernel.FDFlags) bool {
		if fd, ok := file.Impl().(*timerfd.TimerFileDescription); ok {
			if now, setting := fd.GetTime(); setting.Enabled {
				out = append(out, pending{wait{t, setting.Next}, setting.Next.Sub(now), func() { guarded(func() { fd.GetTime() }) }})
			}
		}
		return true
	})
	return out
}

// skip puts the clocks forward to the first of the timers, unless that is near,
// or no more may be skipped.
func (s *skipper) skip() {
	running, polls := s.timers()
	if len(running) == 0 {
		return
	}
	// The last to fire looks first: who is woken may end its process, timers and all.
	sort.Slice(running, func(i, j int) bool { return running[i].in > running[j].in })
	by := running[len(running)-1].in
	if by < minSkip || by > s.left || s.count == maxSkips {
		return
	}
	s.left -= by
	s.count++
	s.report(running, by)
	for _, p := range polls {
		p.postpone(by)
	}
	change(s.k, func() { skipped.Add(int64(by)) })
	for _, p := range polls {
		p.look()
	}
	for _, p := range running {
		p.look()
	}
}

// report tells the sensor of the long waits that a skip ends. Sleeps proper
// were told when they began.
func (s *skipper) report(running []pending, by time.Duration) {
	now := s.k.MonotonicClock().Now()
	for _, p := range running {
		if p.in > by || s.tgid(p.t) <= managerTGID {
			continue
		}
		length := by
		if began, ok := s.began[p.wait]; ok {
			length += now.Sub(began)
		}
		if no := p.t.Arch().SyscallNo(); length >= longWait && no != sysNanosleep && no != sysClockNanosleep {
			reportWait(p.t, length)
		}
	}
}

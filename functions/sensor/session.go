package sensor

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
)

// maxContainers bounds the containers of one pod that are told apart.
const maxContainers = 64

// queueLength bounds the records of one container that wait, beside the
// session's budget of bytes.
const queueLength = 4096

// session is one sandbox, which is one pod: several containers, of which one is
// judged. Each container has a goroutine that works off its records; one that
// waits for its pod to be known holds up the session once the budget is used.
type session struct {
	s          *Sensor
	in         *remote.Session
	room       *semaphore.Weighted
	containers map[string]*watch
	watches    sync.WaitGroup
}

func newSession(s *Sensor, in *remote.Session) *session {
	return &session{s: s, in: in, room: semaphore.NewWeighted(sessionBudget), containers: map[string]*watch{}}
}

// run reads messages until the sandbox hangs up or ctx ends, and waits for what
// follows from them.
func (x *session) run(ctx, work context.Context) {
	end := x.read(ctx, work)
	for _, w := range x.containers {
		w.end = end
		close(w.queue)
	}
	x.watches.Wait()
}

// ending is how a session ended.
type ending struct {
	problem string // "" where the sandbox hung up
}

// stopped is a session's end with the sensor's.
var stopped = ending{problem: "the sensor on the node was stopped while the sandbox ran"}

func (x *session) read(ctx, work context.Context) ending {
	for {
		m, err := x.in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return ending{}
		case ctx.Err() != nil:
			return stopped
		case err != nil:
			return ending{problem: err.Error()}
		}
		x.s.count.records.Inc()
		w := x.container(work, m)
		if w == nil || w.passing.Load() {
			continue
		}
		n := size(&m.Record)
		if x.room.Acquire(work, n) != nil {
			return stopped
		}
		select {
		case w.queue <- m:
		case <-w.done: // it had to give up, or is not ours
			x.room.Release(n)
		}
	}
}

// container returns the watch over a message's container; nil for a message
// without one. The pod's own container, the first to report, is none of ours.
func (x *session) container(work context.Context, m remote.Message) *watch {
	if w := x.containers[m.Container]; w != nil || m.Container == "" {
		return w
	}
	if len(x.containers) >= maxContainers {
		return nil
	}
	w := &watch{x: x, id: m.Container, queue: make(chan remote.Message, queueLength), done: make(chan struct{})}
	w.passing.Store(len(x.containers) == 0 && m.Record.Kind == record.KindStart)
	x.containers[m.Container] = w
	if w.passing.Load() {
		return w
	}
	x.watches.Go(func() { w.run(work) })
	return w
}

// size is about what a record takes in memory.
func size(r *record.Record) int64 {
	n := 512 + len(r.Path) + len(r.Raw) + len(r.Target) + len(r.FDPath) + len(r.Cwd) + len(r.Exe) + len(r.Comm) + len(r.Addr) + len(r.Data)
	for _, l := range [][]string{r.Argv, r.Env, r.Stdio} {
		for _, s := range l {
			n += 16 + len(s)
		}
	}
	return int64(min(n, sessionBudget))
}

package sensor

import (
	"context"
	"path"
	"sync/atomic"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sensor"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
)

// jobTimeout bounds the wait for a scan's record and source.
const jobTimeout = 30 * time.Second

// exitTimeout bounds the wait for the API server to say that a container has
// ended whose end the sandbox's kernel did not tell.
const exitTimeout = 15 * time.Second

// watch is what is done about one container's records.
type watch struct {
	x       *session
	id      string
	queue   chan remote.Message
	passing atomic.Bool   // its records are read and forgotten
	done    chan struct{} // closed when nobody reads the queue any more
	end     ending        // set before the queue is closed
}

func (w *watch) run(work context.Context) {
	defer close(w.done)
	c, ok := w.x.s.d.Pods.Await(work, w.id)
	if !ok || !c.Judged {
		w.passing.Store(true)
		w.drain()
		return
	}
	w.judge(work, c)
	w.passing.Store(true)
	w.drain()
}

// drain forgets what is left in the queue, so that nobody waits for room.
func (w *watch) drain() {
	for {
		select {
		case m, ok := <-w.queue:
			if !ok {
				return
			}
			w.x.room.Release(size(&m.Record))
		default:
			return
		}
	}
}

// judge works off the records of a scan's container and reports.
func (w *watch) judge(work context.Context, c Container) {
	s := w.x.s
	log := s.d.Log.With("scan_id", c.Scan, "attempt", c.Attempt, "container", w.id)
	log.Info("watching", "pod", c.Pod)
	loading, cancel := context.WithTimeout(work, jobTimeout)
	job, err := s.d.Jobs.Load(loading, c.Scan)
	cancel()
	if err != nil {
		log.Warn("packages are named by their folders", "error", err)
		job = unknownJob()
	}
	// The alerts may be stored for a while after the last record.
	storing, stopStoring := context.WithCancel(work)
	defer stopStoring()
	first, open := <-w.queue
	watcher := sensor.New(sensor.Config{
		ScanID: c.Scan, Container: w.id, Rules: s.d.Rules, Manager: job.Manager, Project: job.Project,
		Setting: ecosystem.Setting{Work: guest.Dir(job.Project.Root), Import: !job.Run.Request.InstallOnly}, Alerts: s.d.Alerts, Init: isInit(job, first), Log: log,
	})
	if c.Canary != nil {
		watcher.Bait(canary.New(*c.Canary))
	}
	watcher.Open(storing)
	for m := first; open; m, open = <-w.queue {
		watcher.Take(storing, &m.Record)
		w.x.room.Release(size(&m.Record))
		if watcher.Ended() {
			break
		}
	}
	r := s.newReport(c)
	problem := ""
	if !watcher.Ended() {
		problem, r.Lost = w.broken(work, c, watcher.Exited())
	}
	if first.Record.Kind != record.KindStart && problem == "" {
		problem = "the start of the container was not reported"
	}
	watcher.Lost(w.x.in.Dropped())
	late := time.AfterFunc(storeTimeout, stopStoring)
	sum := watcher.Close(problem)
	late.Stop()
	r.SensorEvents, r.Dropped, r.AlertsStored, r.AlertsCapped = sum.Events, sum.Dropped, sum.Stored, sum.Capped
	r.Incomplete, r.Outlived = sum.Incomplete, firstOf(sum.Outlived, maxOutlived)
	if err != nil {
		r.Incomplete = append(r.Incomplete, "the scan's lockfile could not be read on the node: packages are named by their folders, without versions")
	}
	r.Unwatched = s.unwatched
	if w.x.in.Ours() {
		r.Unwatched = nil
	}
	r.At = s.d.Now().UTC()
	s.report(work, c, r, job.extensions()...)
	log.Info("reported", "events", r.SensorEvents, "alerts", r.AlertsStored, "dropped", r.Dropped, "lost", r.Lost, "incomplete", r.Incomplete)
}

// isInit says that a container's first process is not the package manager but
// what starts it.
func isInit(j Job, first remote.Message) bool {
	argv := first.Record.Argv
	return len(argv) == 0 || path.Base(argv[0]) != j.Manager.Name()
}

// broken says why a container was not watched to its end: "" where it was.
// Called when its records end before its processes did.
func (w *watch) broken(work context.Context, c Container, exited bool) (problem string, lost bool) {
	switch {
	case w.end.problem != "":
		return w.end.problem, true
	case exited: // the others were killed with the sandbox
		return "", false
	}
	ctx, cancel := context.WithTimeout(work, exitTimeout)
	defer cancel()
	if w.x.s.d.Pods.Ended(ctx, w.id) { // killed with its kernel: a limit, a deadline, a node
		return "", false
	}
	return "the sandbox's kernel hung up on the sensor before the sandbox ended", true
}

// Package sensor watches the scan pods of one node: the trace sessions that
// gVisor's sandboxes open in; alerts to the gate and one sensor.reported for
// each scan out. It runs on every node that runs scans (a DaemonSet).
//
// Guarantees:
//
//   - A record is judged in the order in which it happened, by the same rules
//     and with the same attribution as in the embedded sandbox. Which scan it
//     belongs to is what the API server says of the container, never what
//     comes out of the sandbox.
//   - An alert is stored by the gate, or the sandbox waits (its kernel stalls
//     on a full socket), or the scan's report says that alerts are missing.
//     Memory is bounded: what waits of a session has a budget, and the number
//     of sessions has a limit.
//   - A scan whose sandbox was watched to its end gets a report that says so. A
//     sensor that is stopped reports what it watched as lost; one that is
//     killed reports nothing, which the correlator takes for the same.
//   - A pod that is no scan is never slowed down: its records are read and
//     forgotten.
package sensor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
)

// Name is the function's name, its NATS user and its event source.
const Name = "sensor"

// Limits.
const (
	// MaxSessions bounds the sandboxes of a node that are read at once. One more
	// waits for its turn: its pod does not start meanwhile.
	MaxSessions = 512
	// sessionBudget bounds the records of one session that wait, in bytes.
	sessionBudget = 16 << 20
	// handshakeTimeout bounds the wait for a sandbox's greeting.
	handshakeTimeout = 10 * time.Second
	// storeTimeout bounds the wait for the gate after a session's end.
	storeTimeout = 5 * time.Minute
	// stopTimeout bounds what a sensor that is being stopped still stores and
	// reports. The pod's grace period is longer.
	stopTimeout = 20 * time.Second
)

// Deps is what the sensor works with.
type Deps struct {
	Pods   Pods
	Jobs   Jobs
	Rules  *rules.Set
	Points []string // those of the nodes' trace session
	Alerts sandbox.AlertSink
	Emit   function.Emitter
	Node   string

	Metrics prometheus.Registerer
	Now     func() time.Time
	Log     *slog.Logger
}

// Sensor watches the pods of one node.
type Sensor struct {
	d         Deps
	count     *counters
	unwatched []string
	sessions  sync.WaitGroup
}

// New registers the sensor's metrics.
func New(d Deps) (*Sensor, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	count, err := newCounters(d.Metrics)
	if err != nil {
		return nil, err
	}
	return &Sensor{d: d, count: count, unwatched: remote.Unwatched(d.Rules, d.Points)}, nil
}

// Listen opens the socket that the sandboxes connect to. A file that a sensor
// before this one left is replaced; only root may connect.
func Listen(path string) (*net.UnixListener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fault.New("sensor: replace the socket", fault.Permanent, err)
		}
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fault.New("sensor: listen", fault.Permanent, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fault.New("sensor: close the socket to others", fault.Permanent, err), l.Close())
	}
	return l, nil
}

// Serve reads sessions until ctx ends, then reports those that are left as
// lost, and returns when everything is reported or stopTimeout has passed. It
// closes l.
func (s *Sensor) Serve(ctx context.Context, l *net.UnixListener) error {
	closed := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer closed()
	// Work outlives ctx for as long as a stopped sensor takes to report.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, cancel) })
	defer stop()
	s.sessions.Go(func() { s.reportUnseen(ctx, work) })
	slots := make(chan struct{}, MaxSessions)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		conn, err := l.AcceptUnix()
		if err != nil {
			s.sessions.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fault.New("sensor: accept", fault.Transient, err)
		}
		s.sessions.Go(func() {
			defer func() { <-slots }()
			s.session(ctx, work, conn)
		})
	}
}

// session reads one sandbox's connection to its end.
func (s *Sensor) session(ctx, work context.Context, conn *net.UnixConn) {
	defer conn.Close()
	in, err := remote.Accept(conn, handshakeTimeout)
	if err != nil {
		s.d.Log.Warn("a sandbox's greeting can't be read", "error", err)
		return
	}
	s.count.sessions.Inc()
	defer s.count.sessions.Dec()
	// A read that waits ends with ctx.
	hangUp := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer hangUp()
	newSession(s, in).run(ctx, work)
}

// reportUnseen reports the scans that run on this node since before this sensor
// did: nobody sees them any more.
func (s *Sensor) reportUnseen(ctx, work context.Context) {
	list, err := s.d.Pods.Running(ctx)
	if err != nil {
		return // stopped before the pods were known
	}
	for _, c := range list {
		s.d.Log.Warn("a scan runs that was started under another sensor", "scan_id", c.Scan, "pod", c.Pod)
		r := s.newReport(c)
		r.Lost, r.Incomplete = true, []string{"the sensor on the node was started again while the sandbox ran"}
		s.report(work, c, r)
	}
}

// Package sensor turns what the sandbox's kernel reports into alerts in
// Falco's form: it keeps the table of processes, gives each event the fields
// that rules ask for, and attributes it to the package on whose behalf the
// process runs.
//
// Guarantees: events are judged in the order in which they happened; an alert
// is stored, or the sandbox waits (back-pressure), or the run is reported as
// incomplete. Memory is bounded: processes, alerts in flight and alerts per
// rule and package have limits, and what is beyond a limit is counted.
// Attribution rests on ancestry, on which process started which, and never on
// what a process says of itself.
package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// EnvNames are the environment variables that the sandbox reports at an exec.
var EnvNames = record.EnvNames

// Limits of one run.
const (
	// MaxPerRule bounds the alerts of one rule and one package; more are counted.
	MaxPerRule = 200
	// MaxAlerts bounds the alerts of one run.
	MaxAlerts = 20_000
	// MaxProcesses bounds the table of processes.
	MaxProcesses = 100_000
)

// Config says what to watch.
type Config struct {
	ScanID    scan.ID
	Container string
	Rules     *rules.Set
	Manager   ecosystem.Manager
	Project   ecosystem.Project
	Setting   ecosystem.Setting
	Alerts    sandbox.AlertSink
	// HookOnly are the packages, by where they are installed, that give the
	// program that depends on them nothing but their install script.
	HookOnly map[string]bool
	// Init says that the first process is an init of the sandbox's, whose first
	// child is the package manager. Without it the first process is.
	Init bool
	// Sinkhole says that the sandbox has one: alerts about connections wait for
	// what is heard.
	Sinkhole bool
	Log      *slog.Logger
}

// Summary is what a sensor saw.
type Summary struct {
	Events  int64
	Dropped int64
	Stored  int64
	Capped  int64
	// Outlived are the command lines of processes that were still running when
	// the first process ended.
	Outlived   []string
	Incomplete []string
	// Imports is what became of loading packages after the install, nil if
	// nothing was to be loaded.
	Imports *finding.Imports
}

// Sensor watches one sandbox.
type Sensor struct {
	c       Config
	table   *table
	trail   *trail
	store   *store
	network *network
	bait    bait
	alive   atomic.Bool
	over    bool // the first process has ended
	sum     Summary
	num     int64 // evt.num
}

// New makes a sensor. Rules must have been loaded with the sensor's fields.
func New(c Config) *Sensor {
	return &Sensor{c: c, table: newTable(c), trail: newTrail(c), store: newStore(c), network: newNetwork()}
}

// Alive reports whether the sandbox has begun to run.
func (s *Sensor) Alive() bool { return s.alive.Load() }

// acceptTimeout bounds the wait for the sandbox's kernel to connect.
const acceptTimeout = 60 * time.Second

// Serve accepts the kernel's connection and handles its records until the
// kernel closes it or ctx ends. It closes the listener. Whatever goes wrong is
// in the Summary's Incomplete.
func (s *Sensor) Serve(ctx context.Context, l *net.UnixListener) Summary {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	_ = l.SetDeadline(time.Now().Add(acceptTimeout)) // a listener of ours takes deadlines
	conn, err := l.AcceptUnix()
	if err != nil {
		return s.end(fmt.Sprintf("the sandbox's kernel never reported to the sensor: %v", err))
	}
	defer conn.Close()
	stopConn := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stopConn()
	if err := greet(conn); err != nil {
		return s.end("the sandbox's kernel speaks another sensor protocol: " + err.Error())
	}
	s.Open(ctx)
	if err := s.read(ctx, conn); err != nil {
		return s.Close(err.Error())
	}
	return s.Close("")
}

// Open begins to store alerts, for a caller that reads the records itself: it
// calls Take for each, in order, and Close in the end. Alerts that wait when
// ctx ends are not stored, which the Summary says.
func (s *Sensor) Open(ctx context.Context) { s.store.start(ctx) }

// Take judges one record. It blocks while alerts can't be stored.
func (s *Sensor) Take(ctx context.Context, r *record.Record) {
	s.alive.Store(true)
	s.mark(r)
	s.handle(ctx, r)
}

// Lost says how many records the sandbox's kernel could not deliver so far.
func (s *Sensor) Lost(n int64) { s.sum.Dropped = max(s.sum.Dropped, n) }

// Ended reports whether the first process and all others have ended.
func (s *Sensor) Ended() bool { return s.over && len(s.table.byPID) == 0 }

// Exited reports whether the first process has ended.
func (s *Sensor) Exited() bool { return s.over }

// Close waits until every alert is stored, or can't be, and returns what the
// sensor saw. A problem, if there is one, makes that incomplete.
func (s *Sensor) Close(problem string) Summary {
	s.release(context.Background(), s.network.held, nil) // the store's own context bounds it
	s.network.held = nil
	s.store.close()
	return s.end(problem)
}

func greet(conn *net.UnixConn) error {
	hello := make([]byte, 64)
	if err := conn.SetReadDeadline(time.Now().Add(acceptTimeout)); err != nil {
		return err
	}
	n, err := conn.Read(hello)
	if err != nil {
		return err
	}
	if string(hello[:n]) != string(record.Hello) {
		return fmt.Errorf("greeting %x", hello[:n])
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	_, err = conn.Write(record.Hello)
	return err
}

// read handles records until the connection ends.
func (s *Sensor) read(ctx context.Context, conn *net.UnixConn) error {
	buf := make([]byte, record.MaxFrame)
	for {
		n, err := conn.Read(buf)
		if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
			return nil // a packet socket reads nothing at its end
		}
		if err != nil {
			return fmt.Errorf("the connection to the sandbox's kernel broke: %w", err)
		}
		dropped, r, err := record.DecodeFrame(buf[:n])
		if err != nil {
			return fmt.Errorf("the sandbox's kernel sent a record that can't be read: %w", err)
		}
		s.Lost(int64(dropped))
		s.Take(ctx, &r)
	}
}

// handle takes one record into the process table and judges it.
func (s *Sensor) handle(ctx context.Context, r *record.Record) {
	s.sum.Events++
	s.num++
	if s.sinkhole(ctx, r) {
		return
	}
	r.Path, r.Target = unrooted(r.Path), unrooted(r.Target)
	p := s.table.apply(r)
	ev := &event{r: r, p: p, num: s.num, c: &s.c, hosts: s.network.hosts, noted: s.trail.note(r, p)}
	for _, m := range s.c.Rules.Match(ev) {
		s.put(ctx, ev, m)
	}
	if r.Kind == record.KindExit {
		s.table.exited(p)
		if p.first {
			s.over, s.sum.Outlived = true, s.table.running()
		}
	}
}

func (s *Sensor) end(problem string) Summary {
	sum := s.sum
	sum.Stored, sum.Capped = s.store.stored.Load(), s.store.capped.Load()
	imports, unfinished := s.table.imports()
	sum.Imports = imports
	if unfinished != "" {
		sum.Incomplete = append(sum.Incomplete, unfinished)
	}
	if problem != "" {
		sum.Incomplete = append(sum.Incomplete, problem)
	}
	if sum.Dropped > 0 {
		sum.Incomplete = append(sum.Incomplete, fmt.Sprintf("the sensor lost %d of the sandbox's events", sum.Dropped))
	}
	if n := s.table.overflow; n > 0 {
		sum.Incomplete = append(sum.Incomplete, fmt.Sprintf("%d processes beyond the %d that are tracked", n, MaxProcesses))
	}
	if n := s.trail.overflow; n > 0 {
		sum.Incomplete = append(sum.Incomplete, fmt.Sprintf("%d files that scripts wrote beyond the %d that are remembered", n, MaxWritten))
	}
	if err := s.store.err(); err != nil {
		sum.Incomplete = append(sum.Incomplete, "alerts could not be stored: "+err.Error())
	}
	return sum
}

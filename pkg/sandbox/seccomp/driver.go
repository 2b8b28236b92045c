// Package seccomp watches an install by seccomp user notification, on machines
// where gVisor can't run: it needs neither root nor user namespaces, only
// Linux 5.6 on x86-64. It is the weaker driver, and its reports say so.
//
// What it guarantees: every observed system call of every process of the run
// waits until it is reported; processes are attributed by who started whom; no
// process of the run outlives it; limits hold; nothing of the host's
// environment goes in, and the project is a copy.
//
// What it does not: the install runs on this machine, as this user, with this
// user's files in reach. Other connections than to the registry proxy are
// refused and a few dangerous calls fail, but the calls' arguments lie in the
// install's own memory: another of its threads can change them between the
// look and the act, to hide what it does or to get past a refusal. A call's
// result is predicted, not seen.
package seccomp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
	"github.com/falconer-sec/falconer/pkg/sensor"
)

// Kind is the driver's finding.Sandbox.Kind.
const Kind = "seccomp"

// Defaults for limits that a Spec leaves at zero.
const (
	DefaultMemory = 4 << 30
	DefaultTasks  = 2048
	DefaultDisk   = 8 << 30
	DefaultOutput = 16 << 20
	DefaultWall   = 10 * time.Minute
	maxOutput     = 1 << 30 // bytes of output after which a run is ended
	drainTimeout  = 30 * time.Second
)

// Config is what the driver needs beside a Spec.
type Config struct {
	// Program is the binary that calls Dispatch; "" means this one.
	Program string
	Rules   *rules.Set
	// TempDir holds one directory a run while it lasts; "" means os.TempDir.
	TempDir string
	Log     *slog.Logger
}

// Driver implements sandbox.Driver. It is safe for concurrent use.
type Driver struct {
	c         Config
	isolation string
}

var _ sandbox.Equipped = (*Driver)(nil)

// Equipped implements sandbox.Equipped.
func (*Driver) Equipped(r ecosystem.Recipe) error {
	_, err := findTools(r.Programs...)
	return err
}

// New tries the mechanism on a harmless program. The error (fault.Permanent)
// says what this machine lacks and what to do about it.
func New(c Config) (*Driver, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = os.Executable(); err != nil {
			return nil, fault.New("seccomp: find own binary", fault.Permanent, err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := preflight(c); err != nil {
		return nil, err
	}
	return &Driver{c: c, isolation: isolation()}, nil
}

// isolation says in plain words what this driver does not isolate.
func isolation() string {
	name := fmt.Sprintf("user ID %d", os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return "none: the install ran on this machine as user " + name + ", with that user's files and processes in reach; connections other than to the " +
		"registry were refused, and no package was loaded after it. It was watched through its system calls, whose arguments a program can change between the look and the act " +
		"(time-of-check race), so a program that knows of it can hide"
}

// Run implements sandbox.Driver.
func (d *Driver) Run(ctx context.Context, s sandbox.Spec, alerts sandbox.AlertSink) (sandbox.Report, error) {
	applyDefaults(&s.Limits)
	if s.Canaries == nil {
		s.Canaries = canary.New(canary.NewSeed())
	}
	dir, err := os.MkdirTemp(d.c.TempDir, "builds-")
	if err != nil {
		return sandbox.Report{}, fault.New("seccomp: make a directory for the run", fault.Transient, err)
	}
	defer removeAll(dir, d.c.Log.With("scan_id", s.ScanID))
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return sandbox.Report{}, fault.New("seccomp: make a directory for the run", fault.Transient, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return sandbox.Report{}, fault.New("seccomp: make a directory for the run", fault.Transient, err)
	}
	tools, err := findTools(s.Manager.Recipe(s.Project, ecosystem.Setting{}).Programs...)
	if err != nil {
		return sandbox.Report{}, err
	}
	gate, err := openGate(s.Registry)
	if err != nil {
		return sandbox.Report{}, err
	}
	defer gate.close()
	root := filepath.FromSlash(s.Project.Root)
	setting := ecosystem.Setting{Registry: gate.url(), Home: filepath.Join(dir, homeFolder),
		Work: filepath.Join(dir, workFolder, root), NodeDir: tools.nodedir}
	recipe := s.Manager.Recipe(s.Project, setting)
	if err := layOut(dir, s, recipe); err != nil {
		return sandbox.Report{}, err
	}
	p := d.plan(dir, s, recipe, setting, tools, gate.port)
	// The sensor judges by the names that records have.
	setting.Registry, setting.Home = fmt.Sprintf("http://127.0.0.1:%d/", seenRegistry), seenHome
	setting.Work = filepath.Join(seenWork, root)
	return d.watch(ctx, s, p, setting, alerts)
}

func applyDefaults(l *sandbox.Limits) {
	if l.Wall == 0 {
		l.Wall = DefaultWall
	}
	if l.MemoryBytes == 0 {
		l.MemoryBytes = DefaultMemory
	}
	if l.Processes == 0 {
		l.Processes = DefaultTasks
	}
	if l.DiskBytes == 0 {
		l.DiskBytes = DefaultDisk
	}
	if l.OutputBytes == 0 {
		l.OutputBytes = DefaultOutput
	}
}

// watch runs a plan under the sensor.
func (d *Driver) watch(ctx context.Context, s sandbox.Spec, p plan, setting ecosystem.Setting, alerts sandbox.AlertSink) (sandbox.Report, error) {
	id := "falconer-" + string(s.ScanID)
	watch := sensor.New(sensor.Config{ScanID: s.ScanID, Container: id, Rules: d.c.Rules, Manager: s.Manager,
		Project: s.Project, Setting: setting, Alerts: alerts, Log: d.c.Log.With("scan_id", s.ScanID)})
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: p.Endpoint, Net: "unixpacket"})
	if err != nil {
		return sandbox.Report{}, fault.New("seccomp: open the sensor's socket", fault.Transient, err)
	}
	watch.Bait(s.Canaries)
	watched := make(chan sensor.Summary, 1)
	sensorCtx, stopSensor := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSensor()
	go func() { watched <- watch.Serve(sensorCtx, l) }()

	out := output.New(s.Limits.OutputBytes, s.Progress)
	run := &process{program: d.c.Program, plan: p, limits: s.Limits, output: out, log: d.c.Log.With("scan_id", s.ScanID)}
	end, err := run.run(ctx)
	if err != nil {
		stopSensor()
		<-watched
		return sandbox.Report{}, err
	}
	return d.report(s, id, end, collect(watched, stopSensor), out), nil
}

// collect waits for the sensor to read what is left in its socket.
func collect(watched <-chan sensor.Summary, stop func()) sensor.Summary {
	select {
	case summary := <-watched:
		return summary
	case <-time.After(drainTimeout):
		stop()
		summary := <-watched
		summary.Incomplete = append(summary.Incomplete, fmt.Sprintf("the sensor did not finish within %s of the install's end", drainTimeout))
		return summary
	}
}

// report joins how the install ended with what the sensor saw.
func (d *Driver) report(s sandbox.Spec, id string, end ending, sum sensor.Summary, out *output.Output) sandbox.Report {
	r := sandbox.Report{
		Sandbox:      finding.Sandbox{Kind: Kind, Isolation: d.isolation, ExitCode: end.code, Reason: end.reason, Detail: end.detail},
		Container:    id,
		Incomplete:   append(end.incomplete, sum.Incomplete...),
		SensorEvents: sum.Events, SensorDropped: max(sum.Dropped, end.dropped),
		AlertsStored: sum.Stored, AlertsCapped: sum.Capped,
		OutputBytes: out.Total(), Log: out.Tail(),
	}
	if cut := out.Problem(); cut != "" {
		r.Incomplete = append(r.Incomplete, cut)
	}
	if s.Evidence != "" {
		if err := out.Save(filepath.Join(s.Evidence, "output.log")); err != nil {
			r.Incomplete = append(r.Incomplete, "the installer's output could not be saved: "+err.Error())
		}
	}
	r.Log = s.Canaries.Redact(r.Log)
	return r
}

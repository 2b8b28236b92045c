// Package gvisor runs an install in an embedded gVisor sandbox and watches it
// with the sensor. It needs Linux on x86-64 and either root or user
// namespaces; no daemon, no container engine, no file outside of its own
// temporary directory.
//
// The sandbox sees its own root, the host's /usr read-only, the project (an
// overlay in memory takes the writes) and no network but a loopback, on which
// the registry proxy answers. The kernel process runs without privileges under
// gVisor's own seccomp filters, and dies with the process that started it.
package gvisor

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
	"github.com/falconer-sec/falconer/pkg/scratch"
	"github.com/falconer-sec/falconer/pkg/sensor"
)

// Defaults for limits that a Spec leaves at zero.
const (
	DefaultMemory    = 4 << 30
	DefaultTasks     = 2048
	DefaultOutput    = 16 << 20
	DefaultWall      = 10 * time.Minute
	maxOutput        = 1 << 30 // bytes of output after which a run is ended
	registryPort     = 4873
	drainTimeout     = 30 * time.Second
	drainUnstarted   = time.Second
	isolationInWords = "own kernel, own root, loopback only; the host's /usr read-only"
	sinkholeInWords  = "own kernel, own root, no network but a sinkhole; the host's /usr read-only"
)

// dirPrefix starts the names of runs' directories.
const dirPrefix = "falconer-sandbox-"

// Config is what the driver needs beside a Spec.
type Config struct {
	// Program is the binary that calls runtime.Dispatch; "" means this one.
	Program string
	Rules   *rules.Set
	// TempDir holds one directory a run while it lasts; "" means os.TempDir.
	TempDir string
	// Platform is gVisor's: "systrap" (default) or "ptrace".
	Platform string
	// Sinkhole gives sandboxes a network that answers and leads nowhere, and
	// records what is said to it. Without it they have a loopback only.
	Sinkhole bool
	// DebugDir receives gVisor's own logs; "" for none.
	DebugDir string
	Log      *slog.Logger
}

// Driver implements sandbox.Driver. It is safe for concurrent use.
type Driver struct {
	c        Config
	rootless bool
}

var (
	_ sandbox.Taker    = (*Driver)(nil)
	_ sandbox.Equipped = (*Driver)(nil)
)

// Equipped implements sandbox.Equipped.
func (*Driver) Equipped(r ecosystem.Recipe) error {
	_, err := findToolchain(r.Programs...)
	return err
}

// TakesPrepared implements sandbox.Taker.
func (*Driver) TakesPrepared() bool { return true }

// New checks that gVisor can run here. The error (fault.Permanent) says why not
// and what to do about it.
func New(c Config) (*Driver, error) {
	rootless, err := preflight()
	if err != nil {
		return nil, err
	}
	if c.Program == "" {
		if c.Program, err = os.Executable(); err != nil {
			return nil, fault.New("gvisor: find own binary", fault.Permanent, err)
		}
	}
	if c.Platform == "" {
		c.Platform = "systrap"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := scratch.Sweep(c.TempDir, dirPrefix); err != nil { // of runs that were killed
		c.Log.Warn("directories of earlier sandboxes stay behind", "error", err)
	}
	return &Driver{c: c, rootless: rootless}, nil
}

// Run implements sandbox.Driver.
func (d *Driver) Run(ctx context.Context, s sandbox.Spec, alerts sandbox.AlertSink) (sandbox.Report, error) {
	applyDefaults(&s.Limits)
	if s.Canaries == nil {
		s.Canaries = canary.New(canary.NewSeed())
	}
	work, err := scratch.Make(d.c.TempDir, dirPrefix)
	if err != nil {
		return sandbox.Report{}, fault.New("gvisor: make a directory for the sandbox", fault.Transient, err)
	}
	dir := work.Path
	defer func() {
		if err := work.Remove(); err != nil {
			d.c.Log.Error("a sandbox's directory stays behind", "scan_id", s.ScanID, "dir", dir, "error", err)
		}
	}()
	tools, err := findToolchain(s.Manager.Recipe(s.Project, ecosystem.Setting{}).Programs...)
	if err != nil {
		return sandbox.Report{}, err
	}
	setting := ecosystem.Setting{Registry: fmt.Sprintf("http://127.0.0.1:%d/", registryPort), Home: homeDir,
		Work: guest.Dir(s.Project.Root), NodeDir: tools.nodedir, Prepared: len(s.Prepared) > 0, Import: s.Import}
	recipe := s.Manager.Recipe(s.Project, setting)
	hole, err := d.openSinkhole(dir)
	if err != nil {
		return sandbox.Report{}, err
	}
	defer hole.close()
	if _, err := newBundle(filepath.Join(dir, "bundle"), s, recipe, tools, hole); err != nil {
		return sandbox.Report{}, err
	}
	return d.run(ctx, dir, s, setting, recipe, tools.extra, hole, alerts)
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
	if l.OutputBytes == 0 {
		l.OutputBytes = DefaultOutput
	}
}

// run starts the sandbox on a prepared bundle and sees it to its end.
func (d *Driver) run(ctx context.Context, dir string, s sandbox.Spec, setting ecosystem.Setting, recipe ecosystem.Recipe, tools []string, hole *host, alerts sandbox.AlertSink) (sandbox.Report, error) {
	id := "falconer-" + string(s.ScanID)
	watch := sensor.New(sensor.Config{ScanID: s.ScanID, Container: id, Rules: d.c.Rules, Manager: s.Manager,
		Project: s.Project, Setting: setting, Alerts: alerts, Init: true, Sinkhole: d.c.Sinkhole, HookOnly: hookOnly(s), Log: d.c.Log.With("scan_id", s.ScanID)})
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "sensor.sock"), Net: "unixpacket"})
	if err != nil {
		return sandbox.Report{}, fault.New("gvisor: open the sensor's socket", fault.Transient, err)
	}
	watch.Bait(s.Canaries)
	watched := make(chan sensor.Summary, 1)
	sensorCtx, stopSensor := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSensor()
	go func() { watched <- watch.Serve(sensorCtx, listener) }()

	gate, err := openRelay(dir, s.Registry)
	if err != nil {
		return sandbox.Report{}, err
	}
	defer gate.close()
	session, err := runtime.Session(d.options(dir, s, recipe, tools), gate.options(), hole.options())
	if err != nil {
		return sandbox.Report{}, fault.New("gvisor: trace session", fault.Permanent, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "session.json"), session, 0o600); err != nil {
		return sandbox.Report{}, fault.New("gvisor: trace session", fault.Transient, err)
	}
	out := output.New(s.Limits.OutputBytes, s.Progress)
	p := &process{program: d.c.Program, args: d.arguments(dir, id, s), dir: dir, id: id, output: out, limits: s.Limits, log: d.c.Log.With("scan_id", s.ScanID), alive: watch.Alive}
	end, err := p.run(ctx)
	if err != nil {
		return sandbox.Report{}, err
	}
	drain := drainTimeout
	if !watch.Alive() { // it ended before it began: there is hardly anything to read, and perhaps nobody to hang up
		drain = drainUnstarted
	}
	summary := collect(watched, stopSensor, drain)
	return d.report(s, id, end, summary, out), nil
}

// collect waits for the sensor to read what is left in its socket.
func collect(watched <-chan sensor.Summary, stop func(), limit time.Duration) sensor.Summary {
	select {
	case summary := <-watched:
		return summary
	case <-time.After(limit):
		stop()
		summary := <-watched
		summary.Incomplete = append(summary.Incomplete, fmt.Sprintf("the sensor did not finish within %s of the sandbox's end", limit))
		return summary
	}
}

func (d *Driver) options(dir string, s sandbox.Spec, recipe ecosystem.Recipe, tools []string) runtime.Options {
	return runtime.Options{
		Endpoint:   filepath.Join(dir, "sensor.sock"),
		Env:        sensor.EnvNames,
		Canary:     s.Canaries.Seed().Hex(),
		QuietReads: quietReads(recipe),
		QuietOwn:   recipe.Own,
		System:     append([]string{"/usr/", "/bin/", "/sbin/", "/lib"}, tools...),
		Installed:  installed(s),
		MaxTasks:   s.Limits.Processes,
		Guise:      pretend(guest.MachineOf(s.ScanID)),
	}
}

// quietReads are the prefixes below which reading is nobody's concern.
func quietReads(r ecosystem.Recipe) []string {
	list := []string{"/usr/", "/lib/", "/lib64/", "/bin/", "/etc/ld.so.cache", "/etc/ssl/", "/proc/self/"}
	if dir := r.CacheDir(homeDir); dir != "" {
		list = append(list, dir+"/")
	}
	return list
}

// installed lists the folders that the prepared packages are in.
func installed(s sandbox.Spec) []string {
	var out []string
	for _, folder := range npm.PreparedFolders(s.Prepared) {
		out = append(out, path.Join(guest.Dir(s.Project.Root), folder)+"/")
	}
	return out
}

func (d *Driver) arguments(dir, id string, s sandbox.Spec) []string {
	args := []string{
		runtime.Name,
		"--root=" + filepath.Join(dir, "state"),
		"--platform=" + d.c.Platform,
		"--network=none",
		"--gofer-network-namespace=new",
		"--overlay2=all:memory",
		"--file-access=exclusive", "--file-access-mounts=exclusive",
		"--ignore-cgroups",
		"--host-settings=ignore",
		"--sidecar-usage-policy=LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
		"--pod-init-config=" + filepath.Join(dir, "session.json"),
	}
	if d.rootless {
		args = append(args, "--rootless")
	}
	if d.c.DebugDir != "" {
		args = append(args, "--debug", "--debug-log="+strings.TrimSuffix(d.c.DebugDir, "/")+"/")
	}
	return append(args, "run", "--bundle="+filepath.Join(dir, "bundle"), "--pid-file="+filepath.Join(dir, "pid"), id)
}

// report joins how the sandbox ended with what the sensor saw.
func (d *Driver) report(s sandbox.Spec, id string, end ending, sum sensor.Summary, out *output.Output) sandbox.Report {
	r := sandbox.Report{
		Sandbox:      finding.Sandbox{Kind: "gvisor", Isolation: isolationInWords, ExitCode: end.code, Reason: end.reason, Detail: end.detail, Unpacked: len(s.Prepared), Imports: sum.Imports},
		Container:    id,
		Incomplete:   append(end.incomplete, sum.Incomplete...),
		SensorEvents: sum.Events, SensorDropped: sum.Dropped,
		AlertsStored: sum.Stored, AlertsCapped: sum.Capped,
		OutputBytes: out.Total(), Log: out.Tail(),
	}
	if d.c.Sinkhole {
		r.Sandbox.Isolation = sinkholeInWords
	}
	if cut := out.Problem(); cut != "" {
		r.Incomplete = append(r.Incomplete, cut)
	}
	if n := len(sum.Outlived); n > 0 && end.reason == "completed" {
		r.Incomplete = append(r.Incomplete, fmt.Sprintf("still running %s after the install, and stopped then: %s (%d in all)", guest.Linger, strings.Join(sum.Outlived[:min(n, 3)], "; "), n))
	}
	if s.Evidence != "" {
		if err := out.Save(filepath.Join(s.Evidence, "output.log")); err != nil {
			r.Incomplete = append(r.Incomplete, "the installer's output could not be saved: "+err.Error())
		}
	}
	r.Log = s.Canaries.Redact(r.Log)
	return r
}

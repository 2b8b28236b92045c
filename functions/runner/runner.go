// Package runner runs a requested scan in a sandbox: scan.requested in,
// scan.started on the way, sandbox.exited as the reply.
//
// Guarantees: a request that can't be served (a source that is gone, a
// lockfile that can't be read) is answered with scan.rejected and its reason;
// what may work later is a transient error and tried again. A runner that is
// killed leaves its request unacknowledged, so that the scan is run again as
// another attempt. A request for a scan that has its result is not run again.
// Whatever the run could not see is listed in sandbox.exited's Incomplete.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/home"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "runner"

// Ledger remembers scans across attempts and restarts.
type Ledger interface {
	// Finished reports whether the scan has a result that another run would not
	// better. Errors are transient.
	Finished(ctx context.Context, id scan.ID) (bool, error)
	// Attempt counts another run of the scan and returns its number, from 1.
	// Errors are transient.
	Attempt(ctx context.Context, id scan.ID) (int, error)
}

// Deps is what the runner works with.
type Deps struct {
	Sources  source.Store
	Managers map[string]ecosystem.Manager
	// Mirror reaches the npm registries; offline asks for one that only reads
	// caches.
	Mirror func(offline bool) (*registry.Mirror, error)
	// Gateways reach registries of other kinds, by ecosystem.Recipe.Registry.
	Gateways map[string]func(offline bool) (registry.Gateway, error)
	Driver   sandbox.Driver
	Kind     string // the driver's kind, "gvisor"
	Alerts   sandbox.AlertSink
	Emit     function.Emitter
	Ledger   Ledger
	// Modules returns the manager's own code in one file, for drivers and
	// managers that take prepared packages. Nil if it loads its files.
	Modules func(context.Context) ([]byte, error)
	Limits  sandbox.Limits
	TempDir string // "" means os.TempDir
	// Evidence returns the directory that keeps a scan's records, "" for none.
	// May be nil.
	Evidence func(scan.ID) string
	// Progress receives short lines for a human. May be nil.
	Progress func(scan.ID, string)
	Now      func() time.Time
	Log      *slog.Logger
}

// Runner is the function.
type Runner struct{ d Deps }

var _ function.Handler = (*Runner)(nil)

// New makes the function.
func New(d Deps) *Runner {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{d}
}

// Handle runs one scan to its end. It takes as long as the scan does.
func (r *Runner) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	if e.Type() != event.ScanRequested {
		return nil, nil // wakes a runner in a cluster, or frees a place there
	}
	req, err := event.Decode[scan.Request](e)
	if err == nil {
		err = fault.New("runner", fault.Invalid, req.Validate())
	}
	if err != nil {
		return r.reject(e, req, err)
	}
	done, err := r.d.Ledger.Finished(ctx, req.ID)
	if err != nil || done {
		return nil, err
	}
	exited, err := r.scan(ctx, e, req)
	if ctx.Err() != nil {
		return nil, fault.New("runner: interrupted", fault.Transient, context.Cause(ctx)) // the request stays, and is run again
	}
	if err != nil {
		return r.reject(e, req, err)
	}
	return r.reply(e, event.SandboxExited, req.ID, exited, strconv.Itoa(exited.Attempt))
}

// scan prepares the project, runs it and describes how that went.
func (r *Runner) scan(ctx context.Context, e ce.Event, req scan.Request) (event.Exited, error) {
	dir, err := os.MkdirTemp(r.d.TempDir, "falconer-scan-")
	if err != nil {
		return event.Exited{}, fault.New("runner: make a working directory", fault.Transient, err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			r.d.Log.Error("a scan's directory stays behind", "dir", dir, "scan_id", req.ID, "error", err)
		}
	}()
	r.say(req.ID, "unpacking the project")
	project, manager, err := Unpack(ctx, r.d.Sources, r.d.Managers, req, filepath.Join(dir, "source"))
	if err != nil {
		return event.Exited{}, err
	}
	gateway, err := r.gateway(req, manager.Recipe(project, ecosystem.Setting{}))
	if err != nil {
		return event.Exited{}, err
	}
	r.say(req.ID, fmt.Sprintf("fetching the %d packages that %s pins", len(project.Packages), project.Lockfile))
	fetched, err := gateway.Prefetch(ctx, project, filepath.Join(dir, "cache"), registry.DefaultBase)
	if err != nil {
		return event.Exited{}, err
	}
	packages, err := r.prepared(ctx, gateway, project, manager, dir)
	if err != nil {
		return event.Exited{}, err
	}
	attempt, err := r.d.Ledger.Attempt(ctx, req.ID)
	if err != nil {
		return event.Exited{}, err
	}
	if err := r.started(ctx, e, req, attempt); err != nil {
		return event.Exited{}, err
	}
	proxy := gateway.Gate(project, registry.DefaultBase)
	spec := r.spec(req, project, manager, proxy, dir)
	spec.Prepared = packages
	if err := home.Plant(filepath.Join(spec.Dir, project.Root), spec.Canaries); err != nil {
		return event.Exited{}, fault.New("runner: plant credentials in the project", fault.Transient, err)
	}
	report, err := r.d.Driver.Run(ctx, spec, r.d.Alerts)
	if err != nil {
		return event.Exited{}, err
	}
	return r.exited(req, attempt, project, report, fetched, proxy), nil
}

func (r *Runner) spec(req scan.Request, p ecosystem.Project, m ecosystem.Manager, proxy registry.Gate, dir string) sandbox.Spec {
	limits := r.d.Limits
	limits.Wall = req.Timeout()
	s := sandbox.Spec{ScanID: req.ID, Import: !req.InstallOnly, Dir: filepath.Join(dir, "source"), Project: p, Manager: m,
		CacheDir: filepath.Join(dir, "cache"), Registry: proxy, Limits: limits,
		Progress: func(line string) { r.say(req.ID, line) }}
	s.Canaries = canary.New(canary.NewSeed())
	if r.d.Evidence != nil {
		s.Evidence = r.d.Evidence(req.ID)
	}
	return s
}

// started tells that the sandbox is about to run.
func (r *Runner) started(ctx context.Context, by ce.Event, req scan.Request, attempt int) error {
	started := event.Started{Request: req, Attempt: attempt, At: r.d.Now().UTC(), Sandbox: r.d.Kind}
	e, err := r.reply(by, event.ScanStarted, req.ID, started, strconv.Itoa(attempt))
	if err != nil {
		return err
	}
	return r.d.Emit.Emit(ctx, *e)
}

func (r *Runner) exited(req scan.Request, attempt int, p ecosystem.Project, rep sandbox.Report, pre registry.Prefetched, proxy registry.Gate) event.Exited {
	asked, unlisted := proxy.Fetches()
	x := event.Exited{
		Request: req, Attempt: attempt, At: r.d.Now().UTC(), Sandbox: rep.Sandbox,
		SensorEvents: rep.SensorEvents, SensorDropped: rep.SensorDropped,
		AlertsStored: rep.AlertsStored, AlertsCapped: rep.AlertsCapped,
		OutputBytes: rep.OutputBytes, Log: rep.Log,
		Packages: len(p.Packages), InstallScripts: ecosystem.InstallScripts(p),
		Fetches: append(pre.Fetches, asked...),
	}
	x.Incomplete = append(x.Incomplete, p.Problems...)
	x.Incomplete = append(x.Incomplete, pre.Problems...)
	x.Incomplete = append(x.Incomplete, rep.Incomplete...)
	x.Incomplete = append(x.Incomplete, proxy.Problems()...)
	if n := pre.Unlisted + unlisted; n > 0 {
		x.Incomplete = append(x.Incomplete, fmt.Sprintf("%d fetches from the registry are not listed, there were too many", n))
	}
	return x
}

// reject answers an error that stays one with scan.rejected; others are
// returned, to be tried again.
func (r *Runner) reject(by ce.Event, req scan.Request, err error) (*ce.Event, error) {
	if fault.Retryable(err) || errors.Is(err, context.Canceled) {
		return nil, err
	}
	subject := string(req.ID)
	if subject == "" {
		subject = by.ID()
	}
	return r.reply(by, event.ScanRejected, scan.ID(subject),
		event.Refused(req, Name, by.ID(), err.Error()))
}

// reply makes an event caused by another.
func (r *Runner) reply(by ce.Event, typ string, subject scan.ID, data any, more ...string) (*ce.Event, error) {
	id := event.ID(typ, append([]string{string(subject)}, more...)...)
	e, err := event.New(typ, event.Source(Name), string(subject), id, r.d.Now().UTC(), data)
	if err != nil {
		return nil, err
	}
	event.Caused(by, &e)
	return &e, nil
}

func (r *Runner) say(id scan.ID, line string) {
	if r.d.Progress != nil {
		r.d.Progress(id, line)
	}
}

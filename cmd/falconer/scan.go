package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/scratch"
)

// scanFlags are the command line of `falconer scan`.
type scanFlags struct {
	common   commonFlags
	format   string
	output   string
	timeout  time.Duration
	offline  bool
	load     bool
	baseline string
	keep     string
	unsafe   bool
	verbose  bool
	quiet    bool
}

// exitInterrupted is the exit code after Ctrl-C, as shells have it.
const exitInterrupted = 130

// stateDir starts the name of the directory that holds a scan's state.
const stateDir = "falconer-state-"

func (a *app) scanCommand() *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:   "scan [PATH | project.tgz]",
		Short: "Install a project's dependencies in a sandbox and say what they did",
		Long: `Scan finds the projects below PATH (default: the current directory), installs exactly what their lockfiles pin
in a gVisor sandbox, watches, and prints a verdict for each.

Exit codes: 0 clean, 1 suspicious, 2 malicious, 3 inconclusive, 4 an error of ours or of usage (also:
nothing could be scanned). Of several
projects the worst counts: malicious, then inconclusive, then suspicious.`,
		Example: "  falconer scan\n  falconer scan --format json --output result.json ./service\n  falconer scan --format gitlab --output gl-dependency-scanning-report.json\n  falconer scan --offline --cache ~/.npm project.tgz",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			return a.scan(cmd.Context(), path, f)
		},
	}
	fl := cmd.Flags()
	f.common.register(fl)
	fl.StringVar(&f.format, "format", "text", "text, json (one document for each project), or one document for all: "+strings.Join(format.Names(), ", "))
	fl.StringVarP(&f.output, "output", "o", "", "write the result to `FILE` instead of standard output")
	fl.DurationVar(&f.timeout, "timeout", scan.DefaultTimeout, "end the install after this long")
	fl.BoolVar(&f.offline, "offline", false, "make no request to any registry: use what is in the caches")
	fl.StringVar(&f.baseline, "baseline", "", "compare with `FILE`, which --format json wrote before: what is known already does not weigh, unless it is malicious")
	fl.BoolVar(&f.load, "import", true, "after the install, load the packages that the project depends on; false leaves it out")
	fl.StringVar(&f.keep, "keep", "", "keep the evidence in `DIR` (default ./falconer-evidence): output, alerts, events, result")
	fl.Lookup("keep").NoOptDefVal = "falconer-evidence"
	fl.BoolVar(&f.unsafe, "unsafe-seccomp", false, "where gVisor can't run: watch the install on this machine WITHOUT isolating it")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show every occurrence, every fetch and the installer's output")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func (f scanFlags) check() error {
	switch {
	case !slices.Contains(append(format.Names(), "text", "json"), f.format):
		return fmt.Errorf("--format %.40q is none of %s", f.format, forms())
	case f.timeout < time.Second || f.timeout > scan.MaxTimeout:
		return fmt.Errorf("--timeout %s is outside 1s to %s", f.timeout, scan.MaxTimeout)
	}
	return nil
}

// scan runs the command. An interruption has an exit code of its own, unless
// the verdict was out already.
func (a *app) scan(ctx context.Context, path string, f scanFlags) error {
	err := a.scanSource(ctx, path, f)
	if code := codeError(0); err == nil || ctx.Err() == nil || errors.As(err, &code) {
		return err
	}
	a.complain("interrupted; the sandbox is gone")
	return codeError(exitInterrupted)
}

// scanSource plans, runs and reports the scans of one source.
func (a *app) scanSource(ctx context.Context, path string, f scanFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	to, err := a.openOutput(f.output)
	if err != nil {
		return err
	}
	if err := scratch.Sweep("", stateDir); err != nil { // of scans that were killed
		a.log().Warn("directories of earlier scans stay behind", "error", err)
	}
	state, err := scratch.Make("", stateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Remove()) }()
	c, err := f.common.node(a, state.Path)
	if err != nil {
		return err
	}
	kept, err := keepIn(f.keep)
	if err != nil {
		return err
	}
	progress := newProgress(a.io.err, a.terminal(a.io.err), f.quiet)
	results := newCollector()
	c.unsafeSeccomp, c.ephemeral = f.unsafe, true
	var before baseline
	if f.baseline != "" {
		if before, err = readBaseline(f.baseline); err != nil {
			return err
		}
		c.baseline = before.of
	}
	c.progress, c.evidence = progress.line, kept.scan
	c.reporter = reporter.New(c.log, results)
	c.letters = results.letters
	n, err := openNode(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = end(ctx, n, err) }()
	plan, err := planScan(ctx, n.planner, path, f, before)
	if err != nil {
		return err
	}
	if len(plan.Requests) == 0 {
		return notScanned(plan.Rejected)
	}
	progress.plan(plan)
	defer progress.done()
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := plan.Announce(ctx, n.emit, "cli", time.Now().UTC(), nil); err != nil {
		return err
	}
	reports, err := results.wait(ctx, plan)
	if err != nil {
		return err
	}
	progress.done()
	keepErr := kept.save(ctx, n, reports)
	if err := a.deliver(f, to, plan, reports); err != nil && keepErr == nil {
		return err
	}
	return keepErr
}

// end closes the node. After a failure what still runs is not waited for.
func end(ctx context.Context, n *node, err error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if code := codeError(0); err == nil || errors.As(err, &code) {
		return errors.Join(err, n.close(ctx))
	}
	cancel()
	_ = n.close(ctx) // the first error is the one that tells
	return err
}

// planScan plans a directory or an archive.
func planScan(ctx context.Context, p planner.Planner, path string, f scanFlags, before baseline) (planner.Plan, error) {
	info, err := os.Stat(path)
	if err != nil {
		return planner.Plan{}, fault.New("scan", fault.Invalid, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return planner.Plan{}, err
	}
	m := planner.Meta{Project: "local/" + projectName(abs), Timeout: f.timeout, Offline: f.offline, InstallOnly: !f.load, By: "cli", Cause: "cli", StripTop: true,
		Standard: func(context.Context) (planner.Standard, error) {
			return planner.Standard{Target: before.name, NoTarget: planner.Unvouched}, nil
		}}
	if info.IsDir() {
		return p.PlanDir(ctx, abs, m)
	}
	archive, err := os.Open(abs)
	if err != nil {
		return planner.Plan{}, err
	}
	defer archive.Close()
	return p.Plan(ctx, archive, m)
}

// projectName is the last part of a path without an archive's ending.
func projectName(abs string) string {
	name := filepath.Base(abs)
	for _, ending := range []string{".tgz", ".tar.gz"} {
		name = strings.TrimSuffix(name, ending)
	}
	if name == "" || name == "/" {
		return "root"
	}
	return name
}

// verdict is the worst of a source's verdicts; what was rejected is
// inconclusive.
func verdict(rejected []event.Rejected, reports []reporter.Report) finding.Verdict {
	var worst finding.Verdict
	for _, r := range reports {
		if r.Result != nil {
			worst = finding.Worst(worst, r.Result.Verdict)
		}
	}
	if len(rejected) > 0 {
		worst = finding.Worst(worst, finding.Inconclusive)
	}
	return worst
}

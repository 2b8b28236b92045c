package bench

import (
	"context"
	"os/exec"
)

// sandboxStart measures the shortest possible sandbox, and beside it what the
// host needs for the same program, plain and, where it is installed, in
// bubblewrap's namespaces (which share the host's kernel).
func sandboxStart(ctx context.Context, r *Run) error {
	if err := r.goBenchmarks(ctx, "start"); err != nil {
		return err
	}
	if err := r.execs(ctx, "/bin/true on the host", "/bin/true"); err != nil {
		return err
	}
	const inBubblewrap = "/bin/true in bubblewrap"
	if _, err := exec.LookPath("bwrap"); err != nil {
		r.note(inBubblewrap, "ms", "bwrap is not installed, so it was not measured")
		return nil
	}
	return r.execs(ctx, inBubblewrap, "bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "/bin/true")
}

// execs runs a short program often.
func (r *Run) execs(ctx context.Context, what, name string, args ...string) error {
	r.say("%s", what)
	for range 10 * r.Rounds {
		ms, err := timed(func() error { return exec.CommandContext(ctx, name, args...).Run() })
		if err != nil {
			return err
		}
		r.sample(what, "ms", ms)
	}
	return nil
}

package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// took is what a program cost.
type took struct {
	began time.Time
	wall  time.Duration
	cpu   time.Duration // user and system, of the program and its descendants
	how   string        // how cpu was measured
	code  int           // exit code
}

// commandTimeout ends a program that hangs.
const commandTimeout = 15 * time.Minute

// run runs a program in dir and measures it. Its output goes to a file, so
// that nobody has to read it meanwhile. A program that could not be run to its
// end is an error; an exit code above 0 is not.
func (r *Run) run(ctx context.Context, dir string, env []string, name string, args ...string) (took, string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	log, err := os.Create(filepath.Join(r.scratch, "output"))
	if err != nil {
		return took{}, "", err
	}
	defer log.Close()
	g, without := openGroup()
	argv := append([]string{name}, args...)
	if without == nil {
		argv = g.enter(argv)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C comes through Cancel alone, once
	cmd.WaitDelay = 30 * time.Second
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), log, log
	began := time.Now()
	err = cmd.Run()
	t := took{began: began, wall: time.Since(began)}
	if p := cmd.ProcessState; p != nil {
		t.cpu, t.code, t.how = p.UserTime()+p.SystemTime(), p.ExitCode(), fmt.Sprintf("CPU by getrusage, which misses what nobody waited for (no cgroup: %v)", without)
	}
	if without == nil {
		t.how = "CPU by cgroup"
		var closing error
		if t.cpu, closing = g.close(); closing != nil {
			return t, "", fmt.Errorf("%s: %w", name, closing)
		}
	}
	output := tail(log.Name())
	if ctx.Err() != nil {
		return t, output, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if err != nil && t.code <= 0 {
		return t, output, fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return t, output, nil
}

// tail is the end of a file.
func tail(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	const kept = 2000
	return string(b[max(0, len(b)-kept):])
}

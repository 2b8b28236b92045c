package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// programs weighs falconer and each function's own program, and measures how
// long they take until they answer, if test/binaries can.
func programs(ctx context.Context, r *Run) error {
	if err := r.weigh("falconer", r.Falconer); err != nil {
		return err
	}
	mains, err := filepath.Glob(filepath.Join(r.Root, "functions", "*", "cmd", "*", "main.go"))
	if err != nil {
		return err
	}
	out, err := r.dir("functions")
	if err != nil {
		return err
	}
	for _, main := range mains {
		dir := filepath.Dir(main)
		name := filepath.Base(dir)
		r.say("build %s", name)
		program := filepath.Join(out, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, dir)
		cmd.Dir, cmd.Env = r.Root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		if err := r.weigh("function "+name, program); err != nil {
			return err
		}
	}
	return r.goBenchmarks(ctx, "size")
}

// weigh samples a program's size in millions of bytes.
func (r *Run) weigh(name, program string) error {
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	r.sample(name, "MB", float64(info.Size())/1e6)
	return nil
}

// timed is how many milliseconds f takes.
func timed(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds() * 1000, err
}

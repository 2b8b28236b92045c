package seccomp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
)

// process is the launcher, as its driver sees it.
type process struct {
	program string
	plan    plan
	limits  sandbox.Limits
	output  *output.Output
	log     *slog.Logger
}

// ending is how a run ended.
type ending struct {
	code       int
	reason     string // finding.Sandbox.Reason
	detail     string
	incomplete []string
	dropped    int64
}

const (
	pollInterval   = 50 * time.Millisecond
	diskInterval   = 3 * time.Second
	graceAfterKill = killTimeout + 5*time.Second
	maxOutcome     = 64 << 10 // what a pipe holds: it is read after the launcher's end
)

// run starts the launcher and waits for its end, a limit's or the context's.
// An error means that the program did not start.
func (p *process) run(ctx context.Context) (ending, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return ending{}, fault.New("seccomp: start the launcher", fault.Transient, err)
	}
	defer read.Close()
	raw, err := json.Marshal(p.plan)
	if err != nil {
		return ending{}, fault.New("seccomp: start the launcher", fault.Permanent, err)
	}
	cmd := exec.Command(p.program)
	cmd.Args[0] = launcherName
	cmd.Dir = p.plan.Dir
	cmd.Env = []string{"PATH=" + basePath}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), p.output, p.output
	cmd.ExtraFiles = []*os.File{write} // resultFD
	// SIGTERM lets the launcher end what it started, also when we are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = graceAfterKill
	done, err := start(cmd)
	_ = write.Close()
	if err != nil {
		return ending{}, fault.New("seccomp: start the launcher", fault.Transient, err)
	}
	cut := p.wait(ctx, cmd, done)
	var out outcome
	raw, _ = io.ReadAll(io.LimitReader(read, maxOutcome)) // nothing is an answer
	if len(raw) == 0 || json.Unmarshal(raw, &out) != nil {
		p.sweep()
		return lost(cmd), nil
	}
	if out.Problem != "" {
		return ending{}, fault.Errorf(fault.Transient, "seccomp: the install did not start: %s", out.Problem)
	}
	if out.Nudges > 0 {
		p.log.Warn("the supervisor missed system calls that waited", "times", out.Nudges)
	}
	return p.ended(out, cut), nil
}

// start forks from a thread that lives as long as the child: the
// parent-death signal is sent when the forking thread ends.
func start(cmd *exec.Cmd) (<-chan error, error) {
	started, done := make(chan error), make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	err := <-started
	return done, err
}

// wait returns why the run was cut short, the zero ending if it was not.
func (p *process) wait(ctx context.Context, cmd *exec.Cmd, done <-chan error) (cut ending) {
	deadline := time.NewTimer(p.limits.Wall)
	defer deadline.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	disk := time.NewTicker(diskInterval)
	defer disk.Stop()
	var kill <-chan time.Time
	stop := func(e ending) {
		if cut.reason == "" {
			cut = e
			_ = unix.Kill(cmd.Process.Pid, unix.SIGTERM)
			kill = time.After(graceAfterKill)
		}
	}
	limit := func(over string) {
		stop(ending{reason: "limit", detail: over, incomplete: []string{"the install was stopped: " + over}})
	}
	cancelled := ctx.Done()
	for {
		select {
		case <-done:
			return cut
		case <-cancelled:
			cancelled = nil
			stop(ending{reason: "killed", detail: "the scan was cancelled", incomplete: []string{"the scan was cancelled before the install ended"}})
		case <-deadline.C:
			stop(ending{reason: "timeout", detail: fmt.Sprintf("the install did not end within %s", p.limits.Wall),
				incomplete: []string{fmt.Sprintf("the install was stopped after %s", p.limits.Wall)}})
		case <-poll.C:
			if p.output.Total() > maxOutput {
				limit(fmt.Sprintf("more than %d bytes of output", int64(maxOutput)))
			}
		case <-disk.C:
			if diskUsage(p.plan.Dir, p.limits.DiskBytes) > p.limits.DiskBytes {
				limit(fmt.Sprintf("more than %d MiB on disk", p.limits.DiskBytes>>20))
			}
		case <-kill:
			_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		}
	}
}

// diskUsage adds up what files below dir take, up to a little over limit.
func diskUsage(dir string, limit int64) (sum int64) {
	_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(p, &st) == nil {
			sum += st.Blocks * 512
		}
		if sum > limit {
			return fs.SkipAll
		}
		return nil // what has just gone takes nothing
	})
	return sum
}

// ended interprets the launcher's account: cut says whether we caused the end.
func (p *process) ended(out outcome, cut ending) ending {
	e := cut
	e.code, e.dropped = out.Code, int64(out.Dropped)
	if out.Signal != 0 {
		e.code = 128 + out.Signal
	}
	switch {
	case cut.reason != "":
	case out.Broken != "":
		e.reason, e.detail = "lost", "the supervisor gave up: "+out.Broken
		e.incomplete = []string{e.detail}
	case out.Limit != "":
		e.reason, e.detail = "limit", out.Limit
		e.incomplete = []string{"the install was stopped: " + out.Limit}
	case out.Signal != 0:
		e.reason, e.detail = "failed", fmt.Sprintf("the install was ended by signal %d", out.Signal)
		e.incomplete = []string{e.detail}
	case out.Code != 0:
		e.reason, e.detail = "failed", fmt.Sprintf("the install failed with exit code %d", out.Code)
		e.incomplete = []string{e.detail + ": " + p.output.LastLine()}
	default:
		e.reason = "completed"
	}
	if out.Outlived > 0 {
		e.incomplete = append(e.incomplete, fmt.Sprintf("still running %s after the install, and stopped then: %s (%d in all)",
			linger, strings.Join(out.Lines, "; "), out.Outlived))
	}
	for _, c := range []struct {
		n    int64
		what string
	}{
		{out.Unreadable, "system calls whose arguments could not be read: "},
		{out.Foreign, "32-bit system calls, which can't be watched and were refused: "},
		{int64(out.Left), "processes that could not be ended: "},
		{int64(out.Dropped), "records that did not reach the sensor: "},
	} {
		if c.n > 0 {
			e.incomplete = append(e.incomplete, c.what+strconv.FormatInt(c.n, 10))
		}
	}
	return e
}

// lost is the ending of a launcher that gave no account of itself.
func lost(cmd *exec.Cmd) ending {
	why := "the supervisor ended without an account of the run: " + cmd.ProcessState.String()
	return ending{code: cmd.ProcessState.ExitCode(), reason: "lost", detail: why, incomplete: []string{why}}
}

// sweep ends what a lost launcher has left behind, as far as it can be told:
// processes with the run's directory or marker. They can do little, because
// each observed call of theirs fails now.
func (p *process) sweep() {
	for until := time.Now().Add(graceAfterKill); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		left := p.ours()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	p.log.Error("processes of a run are left", "pids", p.ours())
}

func (p *process) ours() []int {
	var marks []string
	for _, e := range p.plan.Environ {
		if strings.HasPrefix(e, "TMPDIR=") {
			marks = append(marks, e)
		}
	}
	var out []int
	for pid := range parents() {
		if pid == os.Getpid() {
			continue
		}
		at := filepath.Join("/proc", strconv.Itoa(pid))
		cwd, err := os.Readlink(filepath.Join(at, "cwd"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a zombie, or a thread of the kernel
		}
		environ, _ := os.ReadFile(filepath.Join(at, "environ")) // not ours: not readable
		here := cwd == p.plan.Dir || strings.HasPrefix(cwd, p.plan.Dir+"/")
		for _, m := range marks {
			here = here || bytes.Contains(environ, []byte(m))
		}
		if here {
			out = append(out, pid)
		}
	}
	return out
}

package gvisor

import (
	"context"
	"errors"
	"fmt"
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

// process is one run of runsc.
type process struct {
	program string
	args    []string // argv, the first is runtime.Name
	dir     string
	id      string
	output  *output.Output
	limits  sandbox.Limits
	log     *slog.Logger
	// alive reports whether the sandbox has begun to run; until then a failure
	// is ours, afterwards it is the sandbox's.
	alive func() bool

	kernel string   // the kernel process's folder in /proc, once it is known
	memory []string // its memory files
}

// ending is how a run ended.
type ending struct {
	code       int
	reason     string // finding.Sandbox.Reason
	detail     string
	incomplete []string
}

// pollInterval is how often limits that only we can enforce are checked.
const pollInterval = 50 * time.Millisecond

// graceAfterKill bounds the wait for a killed sandbox to be gone.
const graceAfterKill = 15 * time.Second

// run starts runsc and waits for its end, a limit's or the context's. When it
// returns no process of the sandbox is left.
func (p *process) run(ctx context.Context) (ending, error) {
	cmd := exec.Command(p.program, p.args[1:]...)
	cmd.Args[0] = p.args[0]
	cmd.Dir = p.dir
	// gVisor's children see nothing of our environment, secrets included.
	cmd.Env = []string{"PATH=" + basePath, "TMPDIR=" + p.dir, "XDG_RUNTIME_DIR=" + p.dir}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = graceAfterKill

	done, err := p.start(cmd)
	if err != nil {
		return ending{}, fault.New("gvisor: start the sandbox", fault.Transient, err)
	}
	defer p.sweep()
	e, werr := p.wait(ctx, cmd, done)
	if werr != nil && !p.alive() {
		return ending{}, fault.Errorf(fault.Transient, "gvisor: the sandbox did not start: %v: %s", werr, p.output.LastLine())
	}
	return e, nil
}

// start forks from a thread of its own that lives as long as the child does:
// the kernel sends the parent-death signal when the forking thread ends, not
// the process. The thread's CPU affinity, inherited, is the CPU limit.
func (p *process) start(cmd *exec.Cmd) (<-chan error, error) {
	started, done := make(chan error), make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if n := int(p.limits.CPUs + 0.999); n > 0 {
			limitCPUs(n)
		}
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return done, <-started
}

// limitCPUs restricts this thread to the first n of the CPUs it may use.
func limitCPUs(n int) {
	var have, want unix.CPUSet
	if unix.SchedGetaffinity(0, &have) != nil {
		return
	}
	for cpu := 0; n > 0 && cpu < 1024; cpu++ {
		if have.IsSet(cpu) {
			want.Set(cpu)
			n--
		}
	}
	_ = unix.SchedSetaffinity(0, &want) // a subset of what we have can't be refused
}

// wait returns how the run ended. The error is set when runsc itself failed or
// was killed.
func (p *process) wait(ctx context.Context, cmd *exec.Cmd, done <-chan error) (ending, error) {
	deadline := time.NewTimer(p.limits.Wall)
	defer deadline.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	var cut ending
	for {
		select {
		case err := <-done:
			return p.ended(cmd, cut, err)
		case <-ctx.Done():
			cut = ending{reason: "killed", detail: "the scan was cancelled", incomplete: []string{"the scan was cancelled before the install ended"}}
			ctx = context.Background()
		case <-deadline.C:
			cut = ending{reason: "timeout", detail: fmt.Sprintf("the install did not end within %s", p.limits.Wall),
				incomplete: []string{fmt.Sprintf("the install was stopped after %s", p.limits.Wall)}}
		case <-poll.C:
			over := p.overLimit()
			if over == "" || cut.reason != "" {
				continue
			}
			cut = ending{reason: "limit", detail: over, incomplete: []string{"the install was stopped: " + over}}
		}
		p.kill(cmd)
	}
}

// ended interprets runsc's end: cut says whether we caused it.
func (p *process) ended(cmd *exec.Cmd, cut ending, err error) (ending, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return ending{reason: "lost", detail: err.Error(), incomplete: []string{"the sandbox was lost: " + err.Error()}}, err
	}
	code := cmd.ProcessState.ExitCode()
	if cut.reason != "" {
		cut.code = code
		return cut, nil
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		why := fmt.Sprintf("the sandbox was killed from outside (signal %s)", status.Signal())
		return ending{code: 128 + int(status.Signal()), reason: "lost", detail: why, incomplete: []string{why}}, errors.New(why)
	case code == 128:
		why := "the sandbox failed: " + p.output.LastLine()
		return ending{code: code, reason: "lost", detail: why, incomplete: []string{why}}, errors.New(why)
	case code != 0:
		why := fmt.Sprintf("the install failed with exit code %d", code)
		return ending{code: code, reason: "failed", detail: why, incomplete: []string{why + ": " + p.output.LastLine()}}, nil
	}
	return ending{reason: "completed"}, nil
}

// kill ends runsc; its children have it as the parent whose death kills them.
func (p *process) kill(cmd *exec.Cmd) { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }

// sweep makes sure that no process of this sandbox outlives the run: every one
// of them has our directory in its command line.
func (p *process) sweep() {
	until := time.Now().Add(graceAfterKill)
	for time.Now().Before(until) {
		left := processesNaming(p.dir)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.log.Error("processes of a sandbox are left", "dir", p.dir, "pids", processesNaming(p.dir))
}

// processesNaming lists the processes (not zombies) with dir in their command
// line.
func processesNaming(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// overLimit says which limit the run exceeds, "" for none.
func (p *process) overLimit() string {
	if p.output.Total() > maxOutput {
		return fmt.Sprintf("more than %d bytes of output", int64(maxOutput))
	}
	if used := p.usedMemory(); used > p.limits.MemoryBytes {
		return fmt.Sprintf("more than %d MiB of memory (files written in the sandbox count as memory)", p.limits.MemoryBytes>>20)
	}
	return ""
}

// usedMemory returns the bytes behind the sandbox's memory and its overlay
// files: the blocks of gVisor's memory file, or the kernel process's resident
// size where that file can't be seen (rootless).
func (p *process) usedMemory() int64 {
	if p.kernel == "" {
		raw, err := os.ReadFile(filepath.Join(p.dir, "pid"))
		pid := strings.TrimSpace(string(raw))
		if err != nil || pid == "" {
			return 0 // not started yet, or its number not written
		}
		p.kernel = filepath.Join("/proc", pid)
		p.memory = memoryFiles(p.kernel)
	}
	if len(p.memory) == 0 {
		return residentSize(p.kernel)
	}
	var total int64
	for _, name := range p.memory {
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil {
			total += st.Blocks * 512
		}
	}
	return total
}

// memoryFiles finds the kernel's memory files among its descriptors. They are
// opened before the sandbox starts, so once is enough, and the kernel holds
// thousands of others later.
func memoryFiles(kernel string) []string {
	fds := filepath.Join(kernel, "fd")
	entries, err := os.ReadDir(fds)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		name := filepath.Join(fds, e.Name())
		if target, err := os.Readlink(name); err == nil && strings.HasPrefix(target, "/memfd:") {
			files = append(files, name)
		}
	}
	return files
}

func residentSize(kernel string) int64 {
	raw, err := os.ReadFile(filepath.Join(kernel, "statm"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

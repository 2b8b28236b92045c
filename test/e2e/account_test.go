package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: a busy machine is slow, a hanging program is not
// waited for for ever.
const patience = 3 * time.Minute

// account is a user's account on a bare machine: a home, a temporary folder
// and an environment, all its own.
type account struct {
	t         *testing.T
	home, tmp string
	env       []string
	attr      *syscall.SysProcAttr // nil runs as the test does
}

// newAccount makes an account and checks, when the test ends, that nothing was
// left in it.
func newAccount(t *testing.T) *account {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	a := &account{t: t, home: filepath.Join(dir, "h"), tmp: filepath.Join(dir, "t")}
	for _, d := range []string{a.home, a.tmp} {
		if err := os.Mkdir(d, 0o755); err != nil { //nolint:gosec // see run
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see run
		t.Fatal(err)
	}
	a.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.home, "TMPDIR=" + a.tmp, "npm_config_registry=" + shared.registry,
		"npm_config_update_notifier=false", "npm_config_fetch_retries=0"}
	t.Cleanup(func() {
		a.untouched()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return a
}

// untouched fails the test if a process, a mount or a file was left behind.
func (a *account) untouched() {
	a.t.Helper()
	if a.t.Failed() { // what is wrong has been said
		a.reap()
		return
	}
	eventually(a.t, "no process of the account is left", func() (string, bool) {
		left := a.processes()
		return strings.Join(left, "\n"), len(left) == 0
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), a.tmp) {
		a.t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
	if left := a.leftovers(); len(left) > 0 {
		a.t.Errorf("left in the temporary folder: %q", left)
	}
}

// leftovers lists what is in the temporary folder that npm did not put there.
func (a *account) leftovers() (names []string) {
	entries, err := os.ReadDir(a.tmp)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "node-compile-cache") {
			names = append(names, e.Name())
		}
	}
	return names
}

// processes lists what still runs with the account's temporary folder in its
// command line or environment: falconer, gVisor's processes and whatever they
// started.
func (a *account) processes() (found []string) {
	for pid, line := range a.running() {
		found = append(found, strconv.Itoa(pid)+" "+line)
	}
	return found
}

func (a *account) running() map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(d, "environ"))
		if bytes.Contains(line, []byte(a.tmp+"/")) || bytes.Contains(env, []byte("TMPDIR="+a.tmp)) {
			found[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// reap ends what a failed test left, so that it disturbs no other.
func (a *account) reap() {
	for pid := range a.running() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
}

// outcome is what one run of the program came to.
type outcome struct {
	code        int
	out, errout string
}

// falconer runs the program to its end.
func (a *account) falconer(args ...string) outcome {
	a.t.Helper()
	p := a.start(args...)
	return p.wait()
}

// running is a started program.
type started struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, errout *transcript
	done        chan struct{}
	err         error
}

// start starts the program.
func (a *account) start(args ...string) *started {
	a.t.Helper()
	return a.command(exec.CommandContext(context.WithoutCancel(a.t.Context()), shared.program, args...))
}

func (a *account) command(cmd *exec.Cmd) *started {
	a.t.Helper()
	p := &started{t: a.t, cmd: cmd, out: &transcript{}, errout: &transcript{}, done: make(chan struct{})}
	cmd.Env, cmd.Dir, cmd.SysProcAttr = a.env, a.home, a.attr
	cmd.Stdout, cmd.Stderr = p.out, p.errout
	cmd.WaitDelay = 20 * time.Second // pipes held open by what outlived it
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	a.t.Cleanup(func() {
		if p.ended() {
			return
		}
		_ = cmd.Process.Kill() // it may be ending by itself
		<-p.done
	})
	return p
}

func (p *started) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits for the program's end.
func (p *started) wait() outcome {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%q does not end\n%s%s", p.cmd.Args[1:], p.out, p.errout)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatalf("%q: %v\n%s", p.cmd.Args[1:], p.err, p.errout)
	}
	return outcome{p.cmd.ProcessState.ExitCode(), p.out.String(), p.errout.String()}
}

// signal sends a signal to the program.
func (p *started) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// says waits until the program has written text to standard error.
func (p *started) says(text string) {
	p.t.Helper()
	eventually(p.t, "the program says "+strconv.Quote(text), func() (string, bool) {
		if p.ended() && !strings.Contains(p.errout.String(), text) {
			p.t.Fatalf("the program ended without saying %q\n%s%s", text, p.out, p.errout)
		}
		return p.errout.String(), strings.Contains(p.errout.String(), text)
	})
}

// eventually polls until the condition holds; state is shown if it never does.
func eventually(t *testing.T, what string, holds func() (state string, ok bool)) {
	t.Helper()
	var state string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var ok bool
		if state, ok = holds(); ok {
			return
		}
	}
	t.Fatalf("never: %s\n%s", what, state)
}

// npm runs the machine's own npm, outside of any sandbox.
func (a *account) npm(dir string, args ...string) {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), "npm", args...)
	cmd.Env, cmd.Dir = a.env, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("npm %q: %v\n%s", args, err, out)
	}
}

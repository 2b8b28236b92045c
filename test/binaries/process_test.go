package binaries_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds whatever a test waits for.
const patience = 30 * time.Second

// process is a running program.
type process struct {
	address string // host:port
	cmd     *exec.Cmd
	serving chan string // gets the address, once
	ended   chan struct{}
	err     error // of the process; valid once ended is closed

	mu  sync.Mutex
	log strings.Builder
}

// launch starts a program. It is killed when the test ends.
func launch(tb testing.TB, name string, env []string) *process {
	tb.Helper()
	p := &process{cmd: exec.Command(filepath.Join(rig.dir, "bin", name)), serving: make(chan string, 1), ended: make(chan struct{})}
	p.cmd.Env = env
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.note(lines.Text())
			var line struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				p.serving <- line.Addr
			}
		}
		p.err = p.cmd.Wait()
	}()
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	})
	return p
}

// start launches a program and waits until it serves.
func start(tb testing.TB, name string, env []string) *process {
	tb.Helper()
	p := launch(tb, name, env)
	select {
	case addr := <-p.serving:
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			tb.Fatal(err)
		}
		p.address = net.JoinHostPort("127.0.0.1", port)
	case <-p.ended:
		tb.Fatalf("%s ended at once: %v\n%s", name, p.err, p.said())
	case <-time.After(patience):
		tb.Fatalf("%s does not serve\n%s", name, p.said())
	}
	return p
}

func (p *process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(line + "\n")
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// terminate asks the process to end.
func (p *process) terminate(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
}

// wait returns the error with which the process ended.
func (p *process) wait(tb testing.TB) error {
	tb.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		tb.Fatalf("the process does not end\n%s", p.said())
		return nil
	}
}

// refusal runs a program that is expected to give up, and returns its exit code
// and what it said.
func refusal(t *testing.T, name string, env []string) (code int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(rig.dir, "bin", name))
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

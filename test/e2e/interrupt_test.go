package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Ctrl-C at any moment ends the scan and everything it started, with the exit
// code that shells know.
func TestInterrupt(t *testing.T) {
	for _, test := range []struct {
		name  string
		at    string // what is said before
		after time.Duration
	}{
		{"while the install runs", "falconer-corpus-hang@1.0.0 postinstall", 0},
		{"before the sandbox starts", "fetching the 1 packages", 100 * time.Millisecond},
		{"while the sandbox starts", "fetching the 1 packages", 200 * time.Millisecond},
		{"while npm starts", "fetching the 1 packages", 500 * time.Millisecond},
		{"while packages are fetched", "fetching the 1 packages", 0},
		{"while planning", "", 100 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAccount(t)
			p := a.start("scan", a.write("project", project(t, "hang")))
			if test.at != "" {
				p.says(test.at)
			}
			time.Sleep(test.after)
			begin := time.Now()
			p.signal(os.Interrupt)
			o := p.wait()
			if o.code != 130 || o.out != "" || !strings.Contains(o.errout, "interrupted") {
				t.Errorf("exit code %d\n%s%s", o.code, o.out, o.errout)
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("the end took %s", took)
			}
			if left := a.processes(); len(left) > 0 {
				t.Errorf("it ended before its processes:\n%s", left)
			}
		})
	}
}

// A scan that is killed takes its sandbox with it.
func TestKilled(t *testing.T) {
	a := newAccount(t)
	p := a.start("scan", a.write("project", project(t, "hang")))
	p.says("falconer-corpus-hang@1.0.0 postinstall")
	sandbox := 0
	for _, line := range a.running() {
		if strings.Contains(line, "sandbox") {
			sandbox++
		}
	}
	if sandbox == 0 {
		t.Fatalf("no sandbox is running: %v", a.processes())
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	eventually(t, "the sandbox is gone", func() (string, bool) {
		left := a.processes()
		return strings.Join(left, "\n"), len(left) == 0
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), a.tmp) {
		t.Errorf("mounts are left: %v\n%s", err, mounts)
	}
	// Nobody could tidy up. The next scan does, and not while another one runs.
	if left := a.leftovers(); len(left) == 0 {
		t.Error("there is nothing to tidy up: the test proves nothing")
	}
	slow := a.start("scan", a.write("other", project(t, "hang")))
	slow.says("falconer-corpus-hang@1.0.0 postinstall")
	if o := a.falconer("scan", a.write("good", project(t, "benign-plain"))); o.code != 0 {
		t.Errorf("exit code %d\n%s", o.code, o.errout)
	}
	slow.signal(os.Interrupt)
	if o := slow.wait(); o.code != 130 {
		t.Errorf("exit code %d\n%s", o.code, o.errout)
	}
}

// A sandbox that is killed from outside says nothing about the package: the
// scan says so instead of passing it.
func TestSandboxKilled(t *testing.T) {
	a := newAccount(t)
	p := a.start("scan", "--format=json", a.write("project", project(t, "hang")))
	p.says("falconer-corpus-hang@1.0.0 postinstall")
	for pid, line := range a.running() {
		if strings.Contains(line, "runsc-sandbox") || strings.Contains(line, " boot ") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := p.wait()
	if r := one(t, o); o.code != 3 || r.Verdict != finding.Inconclusive || len(r.Incomplete) == 0 {
		t.Errorf("exit code %d, verdict %s, sandbox %+v, incomplete %q\n%s", o.code, r.Verdict, r.Sandbox, r.Incomplete, o.errout)
	}
}

// A reader that goes away (falconer scan 2>&1 | head -1) ends neither the
// scan's order nor its tidying up.
func TestReaderGoesAway(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "benign-postinstall"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shared.program, "scan", dir)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = a.env, a.home, w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(io.LimitReader(r, 1)).ReadByte(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		t.Errorf("exit code %d (%v): the result reached nobody", code, err)
	}
}

// Two scans at once, of one account and one cache, don't disturb each other.
func TestTwoAtOnce(t *testing.T) {
	a := newAccount(t)
	bad, good := a.write("bad", project(t, "stolen-key")), a.write("good", project(t, "benign-postinstall"))
	scans := []*started{a.start("scan", "--format=json", bad), a.start("scan", "--format=json", good), a.start("scan", "--format=json", bad)}
	for i, want := range []int{2, 0, 2} {
		if o := scans[i].wait(); o.code != want || len(results(t, o.out)) != 1 {
			t.Errorf("scan %d: exit code %d, want %d\n%s%s", i, o.code, want, o.out, o.errout)
		}
	}
}

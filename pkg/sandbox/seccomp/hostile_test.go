package seccomp_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sandbox"
)

// TestLimits lets untrusted code go too far in each direction.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, script, reason, detail string
		limits                       sandbox.Limits
	}{
		{"time", `sleep 100`, "timeout", "did not end within 2s", sandbox.Limits{Wall: 2 * time.Second}},
		{"memory", `perl -e 'for (1..200) { push @a, "x" x 10_000_000 } sleep 50'`, "limit", "256 MiB of memory", sandbox.Limits{MemoryBytes: 256 << 20}},
		{"memory of a child", `perl -e 'if (!fork) { for (1..200) { push @a, "x" x 10_000_000 } sleep 50 } sleep 50'`, "limit", "256 MiB of memory", sandbox.Limits{MemoryBytes: 256 << 20}},
		{"disk", `for i in 1 2 3 4 5; do dd if=/dev/zero of=$TMPDIR/$i bs=1M count=40 2>/dev/null; done; sleep 50`, "limit", "100 MiB on disk", sandbox.Limits{DiskBytes: 100 << 20}},
		{"one file", `dd if=/dev/zero of=$TMPDIR/f bs=1M count=200 2>/dev/null`, "failed", "", sandbox.Limits{DiskBytes: 100 << 20}},
		{"a failed install", `echo oh no; exit 7`, "failed", "exit code 7", sandbox.Limits{}},
		{"a killed install", `kill -9 $$`, "failed", "signal 9", sandbox.Limits{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r, _ := install(t, tt.script, func(s *sandbox.Spec) {
				s.Limits = tt.limits
				if s.Limits.Wall == 0 {
					s.Limits.Wall = 2 * time.Minute
				}
			})
			if r.Sandbox.Reason != tt.reason || !strings.Contains(r.Sandbox.Detail, tt.detail) || len(r.Incomplete) == 0 {
				t.Errorf("ended with %+v, incomplete %q; want %q, %q", r.Sandbox, r.Incomplete, tt.reason, tt.detail)
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("took %s", d)
			}
		})
	}
}

// TestForkBomb expects forks beyond the limit to fail and the install to go on.
func TestForkBomb(t *testing.T) {
	r, _ := install(t, `perl -e 'for (1..500) { my $p = fork(); if (!defined $p) { $no++; next } if (!$p) { sleep 60; exit } push @p, $p } print "refused $no\n"; kill 9, @p'; echo done`,
		func(s *sandbox.Spec) { s.Limits.Processes = 100 })
	expect(t, "output", r.Log, "refused 40", "done")
	if r.Sandbox.Reason != "completed" {
		t.Errorf("ended with %+v", r.Sandbox)
	}
}

// TestOutlived lets a detached process act after the install has ended, and
// stops those that would like to stay.
func TestOutlived(t *testing.T) {
	t.Parallel()
	r, alerts := install(t, `(setsid sh -c "sleep 1; cat ~/.netrc" >/dev/null 2>&1 &)`, nil)
	expect(t, "alerts", outputs(alerts), "opened /home/build/.netrc (res=SUCCESS")
	if len(r.Incomplete) > 0 {
		t.Errorf("incomplete: %q", r.Incomplete)
	}
	r, _ = install(t, `trap '' TERM HUP INT; (setsid perl -e '$0 = "kworker"; $SIG{TERM} = "IGNORE"; sleep 977' >/dev/null 2>&1 &); setsid perl -e 'while (1) { fork; sleep 1 }' & exec true`,
		func(s *sandbox.Spec) { s.Limits.Processes = 50 })
	if r.Sandbox.Reason != "completed" || len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "still running 10s after the install, and stopped then: kworker; perl -e") {
		t.Errorf("ended with %+v, %q", r.Sandbox, r.Incomplete)
	}
}

// TestOutputFlood keeps a bounded part of the output, and counts all of it.
func TestOutputFlood(t *testing.T) {
	evidence := t.TempDir()
	r, _ := install(t, `head -c 50000000 /dev/zero | tr '\0' x; echo; echo the end`, func(s *sandbox.Spec) {
		s.Limits.OutputBytes, s.Evidence = 1000, evidence
	})
	if r.OutputBytes < 50_000_000 || len(r.Log) > 32<<10 || !strings.HasSuffix(r.Log, "the end\n") {
		t.Errorf("counted %d bytes, log of %d bytes", r.OutputBytes, len(r.Log))
	}
	if info, err := os.Stat(filepath.Join(evidence, "output.log")); err != nil || info.Size() > 32<<10 {
		t.Errorf("evidence: %v, %v", info, err)
	}
}

// TestNothingOfTheEnvironment looks for what must not get in, and for changes
// to what was handed over.
func TestNothingOfTheEnvironment(t *testing.T) {
	t.Setenv("FALCONER_TEST_SECRET", "s3cr3t-in-environment")
	project, cache := t.TempDir(), t.TempDir()
	for _, name := range []string{filepath.Join(project, "package.json"), filepath.Join(cache, "cached")} {
		if err := os.WriteFile(name, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := install(t, `env; cat /proc/$$/environ; cat ~/.npm/cached; echo changed > ~/.npm/cached; echo changed > package.json; echo new > new; chmod 0 .; ls / >/dev/null; echo fds; ls /proc/self/fd`,
		func(s *sandbox.Spec) { s.Dir, s.CacheDir = project, cache })
	for _, banned := range []string{"s3cr3t", "FALCONER_TEST", "SSH_"} {
		if strings.Contains(r.Log, banned) {
			t.Errorf("the install knows %q:\n%s", banned, r.Log)
		}
	}
	expect(t, "output", r.Log, "{}", "fds\n0\n1\n2\n3\n")
	entries, _ := os.ReadDir(project)
	if text, _ := os.ReadFile(filepath.Join(project, "package.json")); string(text) != "{}" || len(entries) != 1 {
		t.Errorf("the host's project was changed: %q, %d entries", text, len(entries))
	}
	if text, _ := os.ReadFile(filepath.Join(cache, "cached")); string(text) != "{}" {
		t.Errorf("the host's cache was changed: %q", text)
	}
}

// TestBlindness lets a process hide from the supervisor: it stays in sight, or
// the report says that it did not.
func TestBlindness(t *testing.T) {
	_, alerts := install(t, `perl -e 'syscall(157, 4, 0, 0, 0, 0); open(F, "<", "$ENV{HOME}/.netrc")'; exit 0`, nil)
	expect(t, "alerts", outputs(alerts), "opened /home/build/.netrc (res=SUCCESS")
	// Machine code: mov eax, 20 (getpid); int 0x80; xor edi, edi; mov eax, 60; syscall.
	r, _ := install(t, `perl -e '$c = "\xb8\x14\x00\x00\x00\xcd\x80\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"; $m = syscall(9, 0, 4096, 7, 0x22, -1, 0);
		$p = pack("p", $c); $f = unpack("Q", $p); open(M, "+<", "/proc/self/mem"); sysseek(M, $m, 0); syswrite(M, $c); close(M);
		require DynaLoader; &{DynaLoader::dl_install_xsub("main::f", $m)}()'; exit 0`, nil)
	if len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "32-bit system calls") {
		t.Errorf("incomplete: %q, log %s", r.Incomplete, r.Log)
	}
}

// TestCancel expects nothing running and nothing on disk after a cancelled run.
func TestCancel(t *testing.T) {
	tmp := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	s := spec(t, `setsid sleep 100 & echo up; sleep 100`)
	s.Progress = func(string) { cancel() }
	r, err := driver(t, tmp).Run(ctx, s, &alertLog{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sandbox.Reason != "killed" || len(r.Incomplete) == 0 {
		t.Errorf("ended with %+v, %q", r.Sandbox, r.Incomplete)
	}
	nothingLeft(t, tmp)
}

// TestSupervisorKilled kills the supervisor from outside.
func TestSupervisorKilled(t *testing.T) {
	tmp := t.TempDir()
	s := spec(t, `setsid sleep 100 & echo up $PPID; sleep 100`)
	s.Progress = func(line string) {
		var pid int
		if _, err := fmt.Sscanf(line, "up %d", &pid); err != nil {
			return // the shell may complain, once it is alone
		}
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill() // seen below
		}
	}
	r, err := driver(t, tmp).Run(t.Context(), s, &alertLog{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sandbox.Reason != "lost" || len(r.Incomplete) == 0 {
		t.Errorf("ended with %+v, %q", r.Sandbox, r.Incomplete)
	}
	nothingLeft(t, tmp)
}

// TestSupervisorIsOutOfReach lets the install try to get rid of its supervisor.
func TestSupervisorIsOutOfReach(t *testing.T) {
	r, _ := install(t, `kill -9 $PPID; kill -9 -$PPID; kill -9 -1; perl -e '$p = "/proc/$ARGV[0]"; $f = syscall(257, -100, $p, 0x10000, 0); print "opened\n" if $f > 2; print "sent\n" if syscall(424, $f, 0, 0, 0) == 0' $PPID
		echo still here`, nil)
	expect(t, "output", r.Log, "opened", "still here")
	if r.Sandbox.Reason != "completed" || strings.Contains(r.Log, "sent") {
		t.Errorf("ended with %+v:\n%s", r.Sandbox, r.Log)
	}
}

// nothingLeft checks that no file and no process of a run is left.
func nothingLeft(t testing.TB, tmp string) {
	t.Helper()
	if entries, _ := os.ReadDir(tmp); len(entries) > 0 {
		t.Errorf("left in the temporary directory: %v", entries)
	}
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range pids {
		traces, _ := os.Readlink(filepath.Join(p, "cwd")) // gone, or a zombie: nothing
		for _, name := range []string{"cmdline", "environ"} {
			text, _ := os.ReadFile(filepath.Join(p, name))
			traces += string(text)
		}
		if strings.Contains(traces, tmp+"/") {
			t.Errorf("%s is left: %q", p, traces)
		}
	}
}

// TestSignalledSupervisor interrupts the supervisor all the time, as its own
// runtime does now and then: no call may go unanswered, and no record missing.
func TestSignalledSupervisor(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	const opens = 30_000
	s := spec(t, `echo up $PPID; UV_THREADPOOL_SIZE=16 node -e '
const fs = require("fs"), home = process.env.HOME; let left = `+fmt.Sprint(opens)+`, open = 0;
const next = () => { if (left-- > 0) { open++; fs.open(home + "/.netrc", "r", (e, fd) => { fs.close(fd, () => { open--; next(); }) }) } else if (!open) console.log("done") };
for (let i = 0; i < 32; i++) next();'`)
	done := make(chan struct{})
	s.Progress = func(line string) {
		var pid int
		if _, err := fmt.Sscanf(line, "up %d", &pid); err != nil {
			return
		}
		go interrupt(pid, done)
	}
	var log alertLog
	r, err := driver(t, tmp).Run(t.Context(), s, &log)
	close(done)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(r.Log, "done\n") || len(r.Incomplete) > 0 || r.AlertsStored+r.AlertsCapped < opens {
		t.Errorf("ended with %+v, incomplete %q, %d alerts", r.Sandbox, r.Incomplete, r.AlertsStored+r.AlertsCapped)
	}
}

// interrupt signals every thread of a process until done.
func interrupt(pid int, done <-chan struct{}) {
	for {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // gone: none
		for _, task := range tasks {
			if tid, err := strconv.Atoi(task.Name()); err == nil {
				_ = unix.Tgkill(pid, tid, unix.SIGURG) // gone, too
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

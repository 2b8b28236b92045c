package gvisor_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// TestLimits lets untrusted code go too far in each direction.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, script, reason, detail string
		limits                       sandbox.Limits
	}{
		{"time", `perl -e sleep`, "timeout", "did not end within 2s", sandbox.Limits{Wall: 2 * time.Second}},
		{"memory", `perl -e 'for (1..200) { push @a, "x" x 10_000_000 } sleep'`, "limit", "256 MiB of memory", sandbox.Limits{MemoryBytes: 256 << 20}},
		{"disk", `dd if=/dev/zero of=/tmp/f bs=1M count=2000 2>/dev/null; perl -e sleep`, "limit", "256 MiB of memory", sandbox.Limits{MemoryBytes: 256 << 20}},
		{"a failed install", `echo oh no; exit 7`, "failed", "exit code 7", sandbox.Limits{}},
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

// TestForkBomb expects the kernel to refuse tasks beyond the limit and the
// install to go on.
func TestForkBomb(t *testing.T) {
	r, _ := install(t, `perl -e 'for (1..500) { my $p = fork(); if (!defined $p) { $no++; next } if (!$p) { sleep 60; exit } push @p, $p } print "refused $no\n"; kill 9, @p'; echo done`,
		func(s *sandbox.Spec) { s.Limits.Processes = 100 })
	expect(t, "output", r.Log, "refused 40", "done")
	if r.Sandbox.Reason != "completed" {
		t.Errorf("ended with %+v", r.Sandbox)
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
	if len(r.Incomplete) != 1 {
		t.Errorf("a log that was cut is not reported: %q", r.Incomplete)
	}
	if info, err := os.Stat(filepath.Join(evidence, "output.log")); err != nil || info.Size() > 32<<10 {
		t.Errorf("evidence: %v, %v", info, err)
	}
}

// TestNothingOfTheHost looks for what must not be inside.
func TestNothingOfTheHost(t *testing.T) {
	t.Setenv("FALCONER_TEST_SECRET", "s3cr3t-in-environment")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cr3t-in-file"), 0o644); err != nil {
		t.Fatal(err)
	}
	project := t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "package.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	r, _ := install(t, `env; cat `+secret+` /proc/1/environ; hostname; ls /home /root/.ssh /var/lib; ip addr 2>/dev/null
		echo changed > package.json; echo new > new; rm -f /usr/bin/env; touch /usr/x; mount -t tmpfs x /mnt; id -u; ls`,
		func(s *sandbox.Spec) { s.Dir = project })
	for _, banned := range []string{"s3cr3t", "FALCONER_TEST", "SSH_", secret + "\n"} {
		if strings.Contains(r.Log, banned) {
			t.Errorf("the sandbox knows %q:\n%s", banned, r.Log)
		}
	}
	if host != "" && strings.Contains(r.Log, "\n"+host+"\n") {
		t.Errorf("the sandbox knows the host's name %q", host)
	}
	expect(t, "output", r.Log, "new\n", "/usr/bin/env", "/usr/x")
	entries, _ := os.ReadDir(project)
	if text, _ := os.ReadFile(filepath.Join(project, "package.json")); string(text) != "{}" || len(entries) != 1 {
		t.Errorf("the host's project was changed: %q, %d entries", text, len(entries))
	}
	if _, err := os.Stat("/usr/x"); err == nil {
		t.Error("the sandbox wrote to the host's /usr")
	}
}

// TestCancel expects nothing running, nothing mounted and nothing on disk after
// a cancelled run.
func TestCancel(t *testing.T) {
	tmp := t.TempDir()
	d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(t, testRules), TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := shell{`echo up; perl -e sleep`}
	p, _ := m.Load(nil, ".")
	s := sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m,
		Progress: func(string) { cancel() }}
	r, err := d.Run(ctx, s, &alertLog{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sandbox.Reason != "killed" || len(r.Incomplete) == 0 {
		t.Errorf("ended with %+v, %q", r.Sandbox, r.Incomplete)
	}
	nothingLeft(t, tmp)
}

// TestSandboxKilled kills the sandbox's kernel from outside.
func TestSandboxKilled(t *testing.T) {
	tmp := t.TempDir()
	d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(t, testRules), TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	m := shell{`echo up; perl -e sleep`}
	p, _ := m.Load(nil, ".")
	s := sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m,
		Progress: func(string) {
			pids, _ := filepath.Glob(filepath.Join(tmp, "*", "pid"))
			raw, _ := os.ReadFile(pids[0])
			pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
			_ = unix.Kill(pid, unix.SIGKILL)
		}}
	r, err := d.Run(t.Context(), s, &alertLog{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sandbox.Reason == "completed" || len(r.Incomplete) == 0 {
		t.Errorf("ended with %+v, %q", r.Sandbox, r.Incomplete)
	}
	nothingLeft(t, tmp)
}

// nothingLeft checks that no file, mount or process of a sandbox is left.
func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	if entries, _ := os.ReadDir(tmp); len(entries) > 0 {
		t.Errorf("left in the temporary directory: %v", entries)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), tmp) {
		t.Error("a mount is left")
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		if text, _ := os.ReadFile(l); strings.Contains(string(text), tmp+"/") {
			t.Errorf("%s is left: %q", l, text)
		}
	}
}

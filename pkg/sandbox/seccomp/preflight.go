package seccomp

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
)

// preflight supervises a program that does nothing, the way an install is
// supervised: what this machine, its container runtime or its administrator
// refuses shows there.
func preflight(c Config) error {
	if goruntime.GOOS != "linux" || goruntime.GOARCH != "amd64" {
		return fault.Errorf(fault.Permanent, "watching an install by seccomp needs Linux on x86-64, this is %s on %s: scan through a remote Falconer instead (falconer scan --server URL)", goruntime.GOOS, goruntime.GOARCH)
	}
	dir, err := os.MkdirTemp(c.TempDir, "builds-")
	if err != nil {
		return fault.New("seccomp: make a directory", fault.Transient, err)
	}
	defer removeAll(dir, c.Log)
	out := output.New(4096, nil)
	p := &process{program: c.Program, output: out, log: c.Log, limits: sandbox.Limits{Wall: launchTimeout, DiskBytes: 1 << 30},
		plan: plan{Dir: dir, Program: c.Program, Argv: []string{"/bin/sh", "-c", "cat /dev/null"}, Environ: []string{"PATH=" + basePath}, Cwd: dir,
			Driver: os.Getpid(), Processes: 100, MemoryBytes: 1 << 30}}
	ctx, cancel := context.WithTimeout(context.Background(), 2*launchTimeout)
	defer cancel()
	end, err := p.run(ctx)
	if err == nil && len(end.incomplete) > 0 {
		err = errors.New(strings.Join(end.incomplete, "; "))
	}
	if err == nil {
		return nil
	}
	return fault.Errorf(fault.Permanent, "an install can't be watched by seccomp here: %w. %s", err, advice(err.Error()))
}

// minRelease is the first Linux with pidfd_getfd(2) and openat2(2).
var minRelease = [2]int{5, 6}

// advice says what to change, from what failed and from what the kernel tells
// of itself.
func advice(problem string) string {
	read := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/kernel/" + name)
		return strings.TrimSpace(string(b))
	}
	release := read("osrelease")
	var have [2]int
	if n, _ := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); n == 2 && (have[0] < minRelease[0] || have[0] == minRelease[0] && have[1] < minRelease[1]) {
		return fmt.Sprintf("Linux %d.%d or later is needed, this is %s: update it, or scan through a remote Falconer (falconer scan --server URL).", minRelease[0], minRelease[1], release)
	}
	switch has := func(e unix.Errno) bool { return strings.Contains(problem, e.Error()) }; {
	case strings.Contains(problem, "seccomp(2)") && has(unix.EBUSY):
		return "These processes are under another seccomp supervisor already, of a container runtime or of another falconer: run outside of it."
	case strings.Contains(problem, "seccomp(2)"):
		return "This kernel, or the container this runs in, has no seccomp user notification: run on an ordinary Linux kernel with CONFIG_SECCOMP_FILTER, " +
			"allow seccomp(2) in the container's profile, or scan through a remote Falconer (falconer scan --server URL)."
	case read("yama/ptrace_scope") == "2" || read("yama/ptrace_scope") == "3":
		return "The kernel's Yama lets no process look into another: set kernel.yama.ptrace_scope to 0 or 1 (sysctl), or run where gVisor can."
	}
	return "The container this runs in may forbid the system calls that are needed: allow seccomp, pidfd_open, pidfd_getfd, process_vm_readv and openat2 in its " +
		"profile, or scan through a remote Falconer (falconer scan --server URL)."
}

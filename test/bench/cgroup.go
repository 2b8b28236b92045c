package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is a control group that counts the CPU time of everything that runs in
// it, also of processes whose parents have left them.
type group struct{ dir string }

// mounts are where control groups are looked for: version 2 alone, version 2
// beside version 1, and version 1's accounting.
var mounts = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"}

// openGroup makes a new group below our own, or below the root where ours is
// not visible. The error says why there is none.
func openGroup() (group, error) {
	err := errors.New("no control groups are mounted")
	for _, mount := range mounts {
		if _, missing := os.Stat(filepath.Join(mount, "cgroup.procs")); missing != nil {
			continue
		}
		for _, parent := range []string{filepath.Join(mount, ownGroup(mount)), mount} {
			var dir string
			if dir, err = os.MkdirTemp(parent, "falconer-bench-"); err != nil {
				continue
			}
			g := group{dir}
			if _, err = g.usage(); err == nil {
				return g, nil
			}
			_ = os.Remove(dir) // it has no use and nothing in it
		}
	}
	return group{}, err
}

// ownGroup is the path of the group that this process is in.
func ownGroup(mount string) string {
	for line := range strings.Lines(text("/proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if v1 := strings.HasSuffix(mount, "cpuacct"); v1 && strings.Contains(f[1], "cpuacct") || !v1 && f[1] == "" {
			return f[2]
		}
	}
	return "/"
}

// enter is a command line that moves itself into the group before it becomes
// argv.
func (g group) enter(argv []string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}, argv...)
}

// usage is the CPU time spent so far.
func (g group) usage() (time.Duration, error) {
	if b, err := os.ReadFile(filepath.Join(g.dir, "cpuacct.usage")); err == nil {
		ns, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return time.Duration(ns), err
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			µs, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(µs) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat has no usage", g.dir)
}

// close removes the group and returns what was spent in it. Processes that are
// still in it after a few seconds are an error: whatever started them left
// them behind.
func (g group) close() (time.Duration, error) {
	var err error
	for range 50 {
		spent, unread := g.usage()
		if err = os.Remove(g.dir); err == nil {
			return spent, unread
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, fmt.Errorf("processes %q are left behind: %w", strings.Fields(text(filepath.Join(g.dir, "cgroup.procs"))), err)
}

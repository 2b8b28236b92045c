package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine names where and when figures were taken. What could not be found out
// is empty.
type Machine struct {
	Date       time.Time `json:"date"`
	CPU        string    `json:"cpu"`
	Cores      int       `json:"cores"`
	MemoryMB   int64     `json:"memory_mb"`
	Kernel     string    `json:"kernel"`
	Filesystem string    `json:"filesystem"` // of the temporary directory, where everything durable is
	Go         string    `json:"go"`
	Node       string    `json:"node"`
	NPM        string    `json:"npm"`
	Commit     string    `json:"commit"`
	LoadBefore string    `json:"load_before"` // load averages over 1, 5 and 15 minutes
	LoadAfter  string    `json:"load_after"`
}

func describe(ctx context.Context, root, scratch string) Machine {
	return Machine{
		Date: time.Now().UTC().Truncate(time.Second), CPU: keyed("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		MemoryMB: memory(), Kernel: text("/proc/sys/kernel/osrelease"), Filesystem: filesystem(scratch),
		Go: runtime.Version(), Node: answer(ctx, root, "node", "--version"), NPM: answer(ctx, root, "npm", "--version", "--loglevel=silent"),
		Commit:     answer(ctx, root, "git", "describe", "--always", "--dirty", "--abbrev=12"),
		LoadBefore: loadAverage(),
	}
}

// String is the machine in one paragraph.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d MB of memory, Linux %s, %s; %s, node %s, npm %s; commit %s; %s; load average %s before and %s after",
		m.CPU, m.Cores, m.MemoryMB, m.Kernel, m.Filesystem, m.Go, m.Node, m.NPM, m.Commit, m.Date.Format(time.RFC3339), m.LoadBefore, m.LoadAfter)
}

// text is a short file's content.
func text(name string) string {
	b, _ := os.ReadFile(name)
	return strings.TrimSpace(string(b))
}

// keyed is the value of the first "key : value" line of a file.
func keyed(name, key string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func memory() int64 {
	var kib int64
	_, _ = fmt.Sscan(keyed("/proc/meminfo", "MemTotal"), &kib) // stays 0
	return kib << 10 / 1e6
}

// filesystem names what dir lies on: on a tmpfs nothing is durable, and the
// figures of what ought to be are too good.
func filesystem(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return ""
	}
	switch int64(s.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs (not durable)"
	}
	return fmt.Sprintf("filesystem %#x", s.Type)
}

func loadAverage() string {
	f := strings.Fields(text("/proc/loadavg"))
	return strings.Join(f[:min(3, len(f))], " ")
}

// answer is the first line that a program prints.
func answer(ctx context.Context, dir, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, _ := cmd.Output()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

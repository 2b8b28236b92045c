package seccomp

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// proc is one process under the filter.
type proc struct {
	pid    int   // on this machine
	seen   int32 // in records: the first process is 1, as in a container
	parent int32 // parent's seen
	comm   string
	uid    uint32
	gid    uint32
	pidfd  int
	// forks is how many times it forked without the child having been seen yet;
	// such a child is recognised by its parent's ID, or by this count when the
	// parent has gone.
	forks  int
	forked time.Time // the last time
	died   time.Time
}

// status is what is needed of /proc/PID/status.
type status struct {
	name       string
	tgid, ppid int
	uid, gid   uint32
	zombie     bool
	private    int64 // bytes of memory that no file backs
}

func readStatus(pid int) (status, bool) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return status{}, false
	}
	var s status
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		first := func() int64 {
			f := strings.Fields(value)
			if len(f) == 0 {
				return 0
			}
			n, _ := strconv.ParseInt(f[0], 10, 64)
			return n
		}
		switch key {
		case "Name":
			s.name = value
		case "State":
			s.zombie = strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X")
		case "Tgid":
			s.tgid = int(first())
		case "PPid":
			s.ppid = int(first())
		case "Uid":
			s.uid = uint32(first())
		case "Gid":
			s.gid = uint32(first())
		case "RssAnon", "RssShmem":
			s.private += first() << 10
		}
	}
	return s, s.tgid != 0
}

// private is the memory of processes that no file backs, in bytes. What several
// share counts for each.
func private(pids []int) int64 {
	var sum int64
	for _, pid := range pids {
		s, _ := readStatus(pid) // gone: none
		sum += s.private
	}
	return sum
}

// childrenOf lists a process's children, zombies included.
func childrenOf(pid int) []int {
	files, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/children")) // the pattern is well formed
	if len(files) == 0 {
		return childrenByScan(pid)
	}
	var out []int
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// childrenByScan is for kernels without CONFIG_PROC_CHILDREN.
func childrenByScan(pid int) []int {
	var out []int
	for child, parent := range parents() {
		if parent == pid {
			out = append(out, child)
		}
	}
	return out
}

// parents maps every process to its parent.
func parents() map[int]int {
	out := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (name, which may hold anything) state ppid ...
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if len(fields) > 1 {
			out[pid], _ = strconv.Atoi(fields[1])
		}
	}
	return out
}

// descendants lists everything below a process.
func descendants(of int) []int {
	up := parents()
	var out []int
	for pid := range up {
		for p, steps := up[pid], 0; p > 1 && steps < len(up); p, steps = up[p], steps+1 {
			if p == of {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// maxCommandLine bounds each command line of an outcome, in bytes.
const maxCommandLine = 120

// commandLines describes processes, zombies left out, for a human.
func commandLines(pids []int) []string {
	var out []string
	for _, pid := range pids {
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil || len(raw) == 0 {
			continue
		}
		line := strings.ReplaceAll(strings.TrimRight(string(raw[:min(len(raw), maxCommandLine)]), "\x00"), "\x00", " ")
		out = append(out, strings.ToValidUTF8(line, "\uFFFD"))
	}
	slices.Sort(out)
	return out
}

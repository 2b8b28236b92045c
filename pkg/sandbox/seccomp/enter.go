package seccomp

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// entry is what the last stage is to do before it becomes the program.
type entry struct {
	Argv       []string `json:"argv"`
	Protected  []int    `json:"protected"`
	FileBytes  int64    `json:"file_bytes"`
	CPUSeconds int64    `json:"cpu_seconds"`
	CPUs       int      `json:"cpus"`
}

// handOver is the descriptor on which the listener goes to the launcher.
const handOver = 3

// exitNotStarted is the exit code of a stage that could not become the program.
const exitNotStarted = 127

// enter limits itself, goes under the filter and becomes the program.
func enter() int {
	if err := becomeProgram(); err != nil {
		// Under the filter the launcher still answers; before it, it reads this.
		_, _ = unix.Write(handOver, []byte(err.Error()))
		return exitNotStarted
	}
	return 0
}

func becomeProgram() error {
	if err := closeOthers(); err != nil {
		return err
	}
	var e entry
	if len(os.Args) < 2 {
		return fmt.Errorf("%s is started by falconer itself", enterName)
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &e); err != nil {
		return err
	}
	file, err := exec.LookPath(e.Argv[0])
	if err != nil {
		return err
	}
	if err := e.limit(); err != nil {
		return err
	}
	goruntime.LockOSThread()
	taken := make(chan listener)
	done := make(chan error)
	// Sending the listener is itself a call that waits for the listener's
	// owner, so a thread does it that is not under the filter.
	go func() { done <- hand(<-taken) }()
	l, err := install(program(observed(), e.Protected))
	if err != nil {
		return err
	}
	taken <- l
	if err := <-done; err != nil {
		return err
	}
	return syscall.Exec(file, e.Argv, os.Environ())
}

// closeOthers lets the program have the standard descriptors only, not what our
// own parents may have left open for their children.
func closeOthers() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// hand sends the listener to the launcher and waits until it is served.
func hand(l listener) error {
	if err := unix.Sendmsg(handOver, []byte{0}, unix.UnixRights(int(l)), nil, 0); err != nil {
		return fmt.Errorf("hand over the listener: %w", err)
	}
	n, err := unix.Read(handOver, make([]byte, 1))
	if err != nil || n != 1 {
		return fmt.Errorf("the launcher did not take the listener: %v", err)
	}
	return unix.Close(int(l))
}

func (e entry) limit() error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0}
	if e.FileBytes > 0 {
		limits[unix.RLIMIT_FSIZE] = uint64(e.FileBytes)
	}
	if e.CPUSeconds > 0 {
		limits[unix.RLIMIT_CPU] = uint64(e.CPUSeconds)
	}
	for what, n := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(what, &now); err != nil {
			return err
		}
		n = min(n, now.Max)
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("set a resource limit: %w", err)
		}
	}
	if e.CPUs > 0 {
		limitCPUs(e.CPUs)
	}
	return nil
}

// limitCPUs restricts this process to the first n of the CPUs it may use.
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
	_ = unix.SchedSetaffinity(os.Getpid(), &want) // a subset of what we have can't be refused
}

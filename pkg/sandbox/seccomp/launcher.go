package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	goruntime "runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// resultFD is where the launcher writes its outcome.
const resultFD = 3

// linger is how long processes that outlive the package manager may go on, so
// that what they do late is seen. What is left then is stopped, and reported.
const linger = 10 * time.Second

const (
	tickInterval  = 100 * time.Millisecond
	killInterval  = 5 * time.Millisecond
	killTimeout   = 10 * time.Second
	launchTimeout = 20 * time.Second
)

// launch is the first stage: it starts the program, supervises it and ends
// everything that descends from it. It is the subreaper of that tree, so
// nothing escapes by losing its parents; SIGTERM ends the run.
func launch() int {
	// The thread that forks has to live as long as the child, whose
	// parent-death signal comes when it ends.
	goruntime.LockOSThread()
	unix.CloseOnExec(resultFD)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var out outcome
	var p plan
	err := json.NewDecoder(os.Stdin).Decode(&p)
	if err == nil {
		out, err = (&launcher{plan: p, stop: stop}).run()
	}
	if err != nil {
		out.Problem = err.Error()
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return 1
	}
	if _, err := unix.Write(resultFD, raw); err != nil {
		return 1
	}
	return 0
}

// launcher is one run.
type launcher struct {
	plan   plan
	stop   <-chan os.Signal
	sink   *sink
	root   int             // the program's process
	gone   chan struct{}   // closed when no child is left
	died   chan waitStatus // the program's end
	broken chan error      // why the supervisor stopped
}

type waitStatus = unix.WaitStatus

func (l *launcher) run() (outcome, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return outcome{}, fmt.Errorf("become the subreaper: %w", err)
	}
	var err error
	if l.sink, err = dialSensor(l.plan.Endpoint, newView(l.plan.Dir, l.plan.RegistryPort)); err != nil {
		return outcome{}, fmt.Errorf("connect to the sensor: %w", err)
	}
	defer l.sink.close()
	conn, err := l.fork()
	if err != nil {
		return outcome{}, fmt.Errorf("start the program: %w", err)
	}
	defer unix.Close(conn)
	// Same user or not, nobody looks into the supervisor.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	s, err := l.supervise(conn)
	if err != nil {
		l.end()
		return outcome{}, err
	}
	return l.wait(s), nil
}

// fork starts the last stage and the reaper, and returns the launcher's end of
// the connection to it.
func (l *launcher) fork() (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pair[1])
	null, err := os.Open(os.DevNull)
	if err != nil {
		return -1, err
	}
	defer null.Close()
	e := entry{Argv: l.plan.Argv, FileBytes: l.plan.FileBytes, CPUSeconds: l.plan.CPUSeconds, CPUs: l.plan.CPUs,
		Protected: []int{os.Getpid(), -os.Getpid(), l.plan.Driver}}
	if group, err := unix.Getpgid(l.plan.Driver); err == nil {
		e.Protected = append(e.Protected, -group)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return -1, err
	}
	l.root, err = syscall.ForkExec(l.plan.Program, []string{enterName, string(raw)}, &syscall.ProcAttr{
		Dir: l.plan.Cwd, Env: l.plan.Environ,
		Files: []uintptr{null.Fd(), 1, 2, uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		_ = unix.Close(pair[0])
		return -1, err
	}
	l.gone, l.died, l.broken = make(chan struct{}), make(chan waitStatus, 1), make(chan error, 1)
	go l.reap()
	return pair[0], nil
}

// reap waits for every child, orphans that fell to us included.
func (l *launcher) reap() {
	defer close(l.gone)
	for {
		var status waitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return // none left
		case pid == l.root:
			l.died <- status
		}
	}
}

// supervise takes the listener from the last stage and lets it go on.
func (l *launcher) supervise(conn int) (*supervisor, error) {
	fd, err := receive(conn)
	if err != nil {
		return nil, err
	}
	s, err := newSupervisor(fd, l.plan, l.sink, os.Getpid())
	if err != nil {
		return nil, err
	}
	s.table.start(l.root)
	root := s.table.byPID[l.root]
	copied, err := unix.PidfdGetfd(root.pidfd, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("look at a descriptor of the program (pidfd_getfd): %w", err)
	}
	_ = unix.Close(copied)
	if err := readable(l.root); err != nil {
		return nil, err
	}
	start := root.record(record.KindStart, l.root)
	start.Argv, start.Cwd = l.plan.Argv, l.plan.Cwd
	l.sink.send(start)
	go s.bury()
	go func() {
		goruntime.LockOSThread()
		if err := s.serve(); err != nil {
			l.broken <- err
		}
	}()
	if _, err := unix.Write(conn, []byte{0}); err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	return s, nil
}

// readable tries what every observed call needs.
func readable(pid int) error {
	raw, err := os.ReadFile("/proc/" + itoa(pid) + "/auxv") // as protected as memory is
	if err == nil && len(raw) == 0 {
		err = errors.New("empty")
	}
	if err != nil {
		return fmt.Errorf("look into the program (ptrace access): %w", err)
	}
	return nil
}

// receive returns the listener, or the error that the last stage sent in its
// place.
func receive(conn int) (listener, error) {
	tv := unix.NsecToTimeval(launchTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return -1, err
	}
	data, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, cn, _, _, err := unix.Recvmsg(conn, data, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("take the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) == 0 {
		if n == 0 {
			return -1, errors.New("the last stage ended without a word")
		}
		return -1, errors.New(string(data[:n]))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("take the listener: %d descriptors, %v", len(fds), err)
	}
	return listener(fds[0]), nil
}

// wait sees the run to its end, and everything it started.
func (l *launcher) wait(s *supervisor) outcome {
	out := outcome{Started: true}
	tick := time.NewTimer(tickInterval)
	defer tick.Stop()
	var lingered <-chan time.Time
	for ended := false; !ended; {
		select {
		case status := <-l.died:
			out.exited(status)
			lingered = time.After(linger)
		case <-l.gone:
			ended = true
		case <-lingered:
			ended = true
			lines := commandLines(descendants(os.Getpid()))
			out.Outlived, out.Lines = len(lines), lines[:min(len(lines), 3)]
		case err := <-l.broken:
			ended = true
			out.Broken = err.Error()
		case <-l.stop:
			ended = true
		case now := <-tick.C:
			out.Limit = s.tick(now)
			ended = out.Limit != ""
			tick.Reset(max(tickInterval, 10*time.Since(now)))
		}
	}
	s.end()
	out.Left = l.end()
	// All have gone, but the program's own end may not have been read yet.
	select {
	case status := <-l.died:
		out.exited(status)
	default:
	}
	out.counts = s.finish()
	out.Dropped = l.sink.dropped
	return out
}

// end kills everything below, until nothing is left. It returns what could not
// be killed.
func (l *launcher) end() int {
	until := time.Now().Add(killTimeout)
	for {
		left := descendants(os.Getpid())
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-l.gone:
			return 0
		case <-time.After(killInterval):
		}
		if time.Now().After(until) {
			return len(left)
		}
	}
}

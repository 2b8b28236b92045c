package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict runs the filter on one call. The interpreter reads numbers in network
// order, the kernel in its own.
func verdict(t *testing.T, arch, nr uint32, args ...int32) int {
	t.Helper()
	vm, err := bpf.NewVM(program(observed(), []int{4711, -4711}))
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data, nr)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
	}
	out, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFilter(t *testing.T) {
	const (
		x86, i386 = unix.AUDIT_ARCH_X86_64, 0x40000003
		yes, wait = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_USER_NOTIF
		eperm     = unix.SECCOMP_RET_ERRNO | int(unix.EPERM)
		enosys    = unix.SECCOMP_RET_ERRNO | int(unix.ENOSYS)
	)
	for _, tt := range []struct {
		name     string
		arch, nr uint32
		args     []int32
		want     int
	}{
		{"read", x86, unix.SYS_READ, nil, yes},
		{"openat", x86, unix.SYS_OPENAT, nil, wait},
		{"openat2", x86, unix.SYS_OPENAT2, nil, wait},
		{"execve", x86, unix.SYS_EXECVE, nil, wait},
		{"execveat", x86, unix.SYS_EXECVEAT, nil, wait},
		{"a call yet to be invented", x86, 9999, nil, yes},
		{"a 32-bit getpid", i386, 20, nil, wait},
		{"an x32 read", x86, 0x40000000, nil, wait},
		{"a process", x86, unix.SYS_CLONE, []int32{int32(unix.SIGCHLD)}, wait},
		{"a vfork", x86, unix.SYS_CLONE, []int32{unix.CLONE_VM | unix.CLONE_VFORK | int32(unix.SIGCHLD)}, wait},
		{"a thread", x86, unix.SYS_CLONE, []int32{unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD}, yes},
		{"a thread with its own descriptors", x86, unix.SYS_CLONE, []int32{unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD}, eperm},
		{"a sibling", x86, unix.SYS_CLONE, []int32{unix.CLONE_PARENT | int32(unix.SIGCHLD)}, eperm},
		{"a user namespace", x86, unix.SYS_CLONE, []int32{unix.CLONE_NEWUSER | int32(unix.SIGCHLD)}, eperm},
		{"clone3", x86, unix.SYS_CLONE3, nil, enosys},
		{"io_uring", x86, unix.SYS_IO_URING_SETUP, nil, enosys},
		{"userfaultfd", x86, unix.SYS_USERFAULTFD, nil, eperm},
		{"becoming undumpable", x86, unix.SYS_PRCTL, []int32{unix.PR_SET_DUMPABLE, 0}, unix.SECCOMP_RET_ERRNO},
		{"a new name", x86, unix.SYS_PRCTL, []int32{unix.PR_SET_NAME}, wait},
		{"another prctl", x86, unix.SYS_PRCTL, []int32{unix.PR_SET_PDEATHSIG}, yes},
		{"dup2 onto input", x86, unix.SYS_DUP2, []int32{9, 0}, wait},
		{"dup3 onto errors", x86, unix.SYS_DUP3, []int32{9, 2}, wait},
		{"dup2 elsewhere", x86, unix.SYS_DUP2, []int32{0, 9}, yes},
		{"F_DUPFD from input on", x86, unix.SYS_FCNTL, []int32{9, unix.F_DUPFD, 0}, wait},
		{"F_DUPFD_CLOEXEC from errors on", x86, unix.SYS_FCNTL, []int32{9, unix.F_DUPFD_CLOEXEC, 2}, wait},
		{"F_DUPFD elsewhere", x86, unix.SYS_FCNTL, []int32{0, unix.F_DUPFD, 10}, yes},
		{"F_GETFL", x86, unix.SYS_FCNTL, []int32{0, unix.F_GETFL}, yes},
		{"a signal to a child", x86, unix.SYS_KILL, []int32{1234, 9}, yes},
		{"a signal to the own group", x86, unix.SYS_KILL, []int32{0, 9}, yes},
		{"a signal to the supervisor", x86, unix.SYS_KILL, []int32{4711, 9}, eperm},
		{"a signal to its group", x86, unix.SYS_KILL, []int32{-4711, 9}, eperm},
		{"a signal to its thread", x86, unix.SYS_TGKILL, []int32{4711, 4712, 9}, eperm},
		{"a signal to everything", x86, unix.SYS_KILL, []int32{-1, 9}, eperm},
		{"a handle on the supervisor", x86, unix.SYS_PIDFD_OPEN, []int32{4711}, eperm},
		{"a limit for the supervisor", x86, unix.SYS_PRLIMIT64, []int32{4711}, eperm},
		{"a signal by handle", x86, unix.SYS_PIDFD_SEND_SIGNAL, nil, eperm},
	} {
		if got := verdict(t, tt.arch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

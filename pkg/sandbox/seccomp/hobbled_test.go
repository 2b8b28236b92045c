package seccomp_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
)

// hobbledEnv names the system call that fails in the child process, and how.
const hobbledEnv = "FALCONER_TEST_HOBBLED"

// hobbled makes this process one on a machine that lacks a system call, and
// prints what New says to that.
func hobbled() {
	var nr, errno uint32
	if n, _ := fmt.Sscanf(os.Getenv(hobbledEnv), "%d=%d", &nr, &errno); n != 2 {
		return
	}
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | errno},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		panic(err)
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		panic(e)
	}
	_, err = seccomp.New(seccomp.Config{})
	fmt.Printf("%s: %v\n", fault.KindOf(err), err)
	os.Exit(0)
}

// TestUnsupported has machines that lack what is needed: each is told why, what
// to do, and never to try again.
func TestUnsupported(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nr    int
		errno unix.Errno
		want  []string
	}{
		{"no listener", unix.SYS_SECCOMP, unix.EINVAL, []string{"seccomp(2): invalid argument", "CONFIG_SECCOMP_FILTER", "--server URL"}},
		{"no seccomp", unix.SYS_SECCOMP, unix.ENOSYS, []string{"seccomp(2): function not implemented", "ordinary Linux kernel"}},
		{"supervised already", unix.SYS_SECCOMP, unix.EBUSY, []string{"under another seccomp supervisor"}},
		{"no descriptors", unix.SYS_PIDFD_GETFD, unix.EPERM, []string{"pidfd_getfd): operation not permitted", "profile"}},
		{"no memory", unix.SYS_PROCESS_VM_READV, unix.EPERM, []string{"could not be read", "process_vm_readv"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d=%d", hobbledEnv, tt.nr, tt.errno), "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "permanent: ") {
				t.Errorf("%v: %s", err, out)
			}
			expect(t, "the error", string(out), tt.want...)
		})
	}
}

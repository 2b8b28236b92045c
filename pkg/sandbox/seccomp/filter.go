package seccomp

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, which a filter looks at.
const (
	offsetNR   = 0
	offsetArch = 4
)

// offsetArg is where the low half of an argument is (little-endian).
func offsetArg(i uint32) uint32 { return 16 + 8*i }

// x32 marks the system calls of the x32 ABI.
const x32 = 0x40000000

// dumpable is prctl(2)'s PR_SET_DUMPABLE.
const dumpable = unix.PR_SET_DUMPABLE

var (
	allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	notify = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
)

// fail answers a call without executing it; 0 is success.
func fail(errno unix.Errno) bpf.RetConstant {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

// namespaces are the flags of clone(2) that would give paths and process IDs
// another meaning, and the one by which a child gets another parent.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_PARENT

// refused are calls that would blind the supervisor, or that an install never
// needs: they fail as on an older or a stricter system.
var refused = map[int]unix.Errno{
	unix.SYS_CLONE3:         unix.ENOSYS, // its flags can't be filtered; libraries fall back to clone
	unix.SYS_IO_URING_SETUP: unix.ENOSYS, // system calls without system calls
	unix.SYS_IO_URING_ENTER: unix.ENOSYS, unix.SYS_IO_URING_REGISTER: unix.ENOSYS,
	unix.SYS_USERFAULTFD: unix.EPERM, // stops whoever reads the process's memory
	unix.SYS_UNSHARE:     unix.EPERM, unix.SYS_SETNS: unix.EPERM, unix.SYS_CHROOT: unix.EPERM, unix.SYS_PIVOT_ROOT: unix.EPERM,
	unix.SYS_UMOUNT2: unix.EPERM, unix.SYS_MOVE_MOUNT: unix.EPERM, unix.SYS_OPEN_TREE: unix.EPERM, unix.SYS_FSOPEN: unix.EPERM,
	unix.SYS_FSMOUNT: unix.EPERM, unix.SYS_OPEN_BY_HANDLE_AT: unix.EPERM, unix.SYS_KEXEC_LOAD: unix.EPERM, unix.SYS_KEXEC_FILE_LOAD: unix.EPERM,
	unix.SYS_PIDFD_SEND_SIGNAL: unix.EPERM, // takes a folder of /proc as well: the filter can't tell whose
}

// aimed are the calls whose first argument names the process they work on.
var aimed = []int{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
	unix.SYS_PIDFD_OPEN, unix.SYS_PRLIMIT64}

// program assembles the filter: the calls in observed wait for the supervisor,
// some fail, everything else happens. Nothing under the filter can end the
// protected processes, nor everything there is at once.
func program(observed []int, protected []int) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		notify,
		bpf.LoadAbsolute{Off: offsetNR, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1},
		notify,
	}
	on := func(nr int, block ...bpf.Instruction) {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(nr), SkipFalse: uint8(len(block))})
		p = append(p, block...)
	}
	for _, nr := range slices.Sorted(slices.Values(observed)) {
		on(nr, notify)
	}
	for nr, errno := range refused {
		on(nr, fail(errno))
	}
	for _, nr := range aimed {
		block := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetArg(0), Size: 4}}
		for _, pid := range append([]int{-1}, protected...) {
			block = append(block, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(pid), SkipTrue: 1}, fail(unix.EPERM))
		}
		on(nr, append(block, allow)...)
	}
	on(unix.SYS_CLONE,
		bpf.LoadAbsolute{Off: offsetArg(0), Size: 4},
		// A thread with descriptors of its own would hide them: only its
		// process's can be looked at.
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipFalse: 3},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_FILES, SkipTrue: 1}, fail(unix.EPERM), allow,
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaces, SkipFalse: 1}, fail(unix.EPERM),
		notify)
	// A process that is not dumpable can't be looked into: it believes that it
	// became one.
	on(unix.SYS_PRCTL,
		bpf.LoadAbsolute{Off: offsetArg(0), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dumpable, SkipTrue: 1}, fail(0),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PR_SET_NAME, SkipTrue: 1}, notify,
		allow)
	for _, nr := range []int{unix.SYS_DUP2, unix.SYS_DUP3} {
		on(nr,
			bpf.LoadAbsolute{Off: offsetArg(1), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 2, SkipTrue: 1}, notify,
			allow)
	}
	on(unix.SYS_FCNTL,
		bpf.LoadAbsolute{Off: offsetArg(1), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.F_DUPFD, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.F_DUPFD_CLOEXEC, SkipTrue: 1},
		allow,
		bpf.LoadAbsolute{Off: offsetArg(2), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 2, SkipTrue: 1}, notify,
		allow)
	return append(p, allow)
}

// install puts this thread under the filter, for ever and with everything it
// becomes, and returns the supervisor's end. The thread must be locked.
func install(instructions []bpf.Instruction) (listener, error) {
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return -1, fmt.Errorf("assemble the filter: %w", err)
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("no_new_privs: %w", err)
	}
	// With the second flag (Linux 5.19) a signal can't make a call, once it is
	// seen, be seen again.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno == unix.EINVAL {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	}
	if errno != 0 {
		return -1, fmt.Errorf("seccomp(2): %w", errno)
	}
	return listener(fd), nil
}

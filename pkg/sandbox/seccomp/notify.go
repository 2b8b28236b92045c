package seccomp

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif (linux/seccomp.h): a system call that
// waits for an answer.
type notification struct {
	ID    uint64
	PID   uint32 // the calling thread
	Flags uint32
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// Requests that golang.org/x/sys/unix lacks.
const (
	// The kernel takes the number of 5.5, which had the wrong direction, as
	// well as the later one.
	ioctlIDValid  = 0x80082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	ioctlSetFlags = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, from Linux 6.6
)

// listener is the supervisor's end of a filter.
type listener int

// ioctl repeats what a signal interrupts: the runtime's own signals come at any
// time, and an answer that is lost leaves its caller waiting for ever.
func (l listener) ioctl(request uintptr, arg unsafe.Pointer) unix.Errno {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l), request, uintptr(arg))
		if errno != unix.EINTR {
			return errno
		}
	}
}

// errAbandoned says that no process is left under the filter.
var errAbandoned = errors.New("no process is left")

// next waits for a system call. Its error is errAbandoned in the end.
func (l listener) next(n *notification) error {
	for {
		*n = notification{} // the kernel insists
		switch errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n)); errno {
		case 0:
			return nil
		case unix.ENOENT: // the caller was killed meanwhile, or all are gone
			if l.abandoned() {
				return errAbandoned
			}
		default:
			return errno
		}
	}
}

func (l listener) abandoned() bool {
	p := []unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}
	_, err := unix.Poll(p, 0) // also fails, and says POLLERR, when interrupted
	return err == nil && p[0].Revents&unix.POLLHUP != 0
}

// waiting reports whether a call waits to be taken.
func (l listener) waiting() bool {
	p := []unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&unix.POLLIN != 0
}

// valid reports whether the call still waits. If it does, what was read of its
// process before was that process's.
func (l listener) valid(id uint64) bool { return l.ioctl(ioctlIDValid, unsafe.Pointer(&id)) == 0 }

// answer lets the call happen (0) or fail with errno. The caller may have been
// killed meanwhile, which is no failure.
func (l listener) answer(id uint64, errno unix.Errno) error {
	r := response{ID: id, Error: -int32(errno)}
	if errno == 0 {
		r.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	if err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != 0 && err != unix.ENOENT {
		return err
	}
	return nil
}

// hurry asks for switches between caller and supervisor without a scheduler's
// delay, where the kernel can do that.
func (l listener) hurry() {
	// The argument is the flags themselves, no pointer to them.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l), ioctlSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

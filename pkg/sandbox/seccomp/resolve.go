package seccomp

import (
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the links followed in one path, as the kernel does.
const maxLinks = 40

// found is what a path leads to.
type found struct {
	path  string // absolute, links resolved
	mode  uint32 // type and permissions
	ctime int64  // of the last change, nanoseconds since 1970
	errno unix.Errno
	fd    int // O_PATH descriptor, -1 for none; to be closed
}

func (f *found) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
	f.fd = -1
}

// resolver finds what a thread's path leads to, seen from that thread.
type resolver struct{ pid, tid int }

// find resolves an absolute path; the last component's link only if follow.
// The file is not opened, so nothing happens to it.
func (r resolver) find(abs string, follow bool) found {
	abs = r.mine(abs)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, abs, &how)
	for err == unix.EINTR || err == unix.EAGAIN { // EAGAIN: a rename got in between
		fd, err = unix.Openat2(unix.AT_FDCWD, abs, &how)
	}
	if err == unix.ELOOP {
		return r.walk(abs, follow)
	}
	if err != nil {
		errno, _ := err.(unix.Errno)
		return found{fd: -1, errno: errno, path: path.Clean(abs)}
	}
	f := found{fd: fd}
	if f.path, err = os.Readlink("/proc/self/fd/" + itoa(fd)); err != nil {
		f.path = path.Clean(abs)
	}
	f.path = r.own(f.path)
	f.stat()
	return f
}

func (f *found) stat() {
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) == nil {
		f.mode, f.ctime = st.Mode, st.Ctim.Nano()
	}
}

// mine turns /proc/self and /proc/thread-self into the thread's folders.
func (r resolver) mine(p string) string {
	if rest, ok := strings.CutPrefix(p, "/proc/self/"); ok {
		return "/proc/" + itoa(r.pid) + "/" + rest
	}
	if rest, ok := strings.CutPrefix(p, "/proc/thread-self/"); ok {
		return "/proc/" + itoa(r.pid) + "/task/" + itoa(r.tid) + "/" + rest
	}
	return p
}

// own turns our own place in /proc, where /proc/self led the supervisor, into
// the thread's.
func (r resolver) own(p string) string {
	mine := "/proc/" + itoa(os.Getpid())
	rest, ok := strings.CutPrefix(p, mine)
	if !ok || rest != "" && rest[0] != '/' {
		return p
	}
	if task, ok := strings.CutPrefix(rest, "/task/"); ok {
		if _, below, ok := strings.Cut(task, "/"); ok {
			return "/proc/" + itoa(r.pid) + "/task/" + itoa(r.tid) + "/" + below
		}
	}
	return "/proc/" + itoa(r.pid) + rest
}

// walk resolves a path link by link: what /proc/self/fd/3 or /proc/9/cwd lead
// to depends on who asks, and the kernel would ask for us.
func (r resolver) walk(abs string, follow bool) found {
	rest := strings.Split(abs, "/")
	at, links := "", 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			at = strings.TrimSuffix(path.Dir("/"+at), "/")
			continue
		case at == "/proc" && name == "self":
			name = itoa(r.pid)
		case at == "/proc" && name == "thread-self":
			name = itoa(r.pid) + "/task/" + itoa(r.tid)
		}
		next := at + "/" + name
		target, err := os.Readlink(next)
		if err != nil || len(rest) == 0 && !follow {
			at = next // no link, or nothing at all: the end tells
			continue
		}
		if links++; links > maxLinks {
			return found{fd: -1, errno: unix.ELOOP, path: path.Clean(abs)}
		}
		if strings.HasPrefix(next, "/proc/") && len(rest) == 0 && isMagic(target) {
			return r.magic(next, target)
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	if at == "" {
		at = "/"
	}
	f := found{fd: -1, path: at}
	fd, err := unix.Open(at, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		f.errno, _ = err.(unix.Errno)
		return f
	}
	f.fd = fd
	f.stat()
	return f
}

// isMagic reports whether a link of /proc leads to something without a path.
func isMagic(target string) bool {
	return !path.IsAbs(target) && strings.Contains(target, ":[") || strings.HasSuffix(target, " (deleted)")
}

// magic is what a link of /proc leads to that has no path of its own: memory
// files, pipes, sockets, removed files.
func (r resolver) magic(link, target string) found {
	f := found{fd: -1, path: target}
	fd, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		f.errno, _ = err.(unix.Errno)
		return f
	}
	f.fd = fd
	f.stat()
	return f
}

// access reports whether this user may use what was found.
func (f *found) access(mode uint32) unix.Errno {
	if f.fd < 0 || mode == 0 {
		return 0
	}
	err := unix.Faccessat2(f.fd, "", mode, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
	if err == unix.ENOSYS || err == unix.EINVAL { // before Linux 5.8
		err = unix.Access("/proc/self/fd/"+itoa(f.fd), mode)
	}
	errno, _ := err.(unix.Errno)
	return errno
}

func (f *found) isDir() bool  { return f.mode&unix.S_IFMT == unix.S_IFDIR }
func (f *found) isLink() bool { return f.mode&unix.S_IFMT == unix.S_IFLNK }
func (f *found) isFile() bool { return f.mode&unix.S_IFMT == unix.S_IFREG }

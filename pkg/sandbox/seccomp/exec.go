package seccomp

import (
	"net/netip"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// exec reports what is about to be executed. A file that is not there or can't
// be executed (a probe along PATH) is none.
func (c *call) exec() unix.Errno {
	dir, name, argv, flags := -1, 0, 1, 0
	if c.n.NR == unix.SYS_EXECVEAT {
		dir, name, argv, flags = 0, 1, 2, c.int(4)
	}
	c.s.table.settle(c.p)
	raw := c.text(c.n.Args[name], pathMax)
	if c.broken {
		return c.tell(&record.Record{}, 0)
	}
	f := c.executable(dir, raw, flags)
	defer f.close()
	if f.errno != 0 {
		return 0
	}
	r := c.p.record(record.KindExec, c.tid)
	r.Exe, r.ExeMemfd = f.path, strings.HasPrefix(f.path, "/memfd:")
	r.ExeUpper = !r.ExeMemfd && f.ctime > c.s.start
	r.Mode = f.mode
	r.Argv = c.argv(c.n.Args[argv])
	r.Env = c.env(c.n.Args[argv+1], c.s.env)
	r.Cwd = c.link("cwd")
	for fd := range 3 {
		r.Stdio = append(r.Stdio, c.standard(fd))
	}
	if raw == "" {
		raw = f.path
	}
	r.Comm = path.Base(raw)
	if errno := c.tell(r, 0); errno != 0 {
		return errno
	}
	c.p.executed(raw)
	c.s.table.forget(c.p)
	return 0
}

// executable finds the file to be executed.
func (c *call) executable(dir int, raw string, flags int) found {
	var f found
	if raw == "" && flags&unix.AT_EMPTY_PATH != 0 {
		f = c.resolver().find(path.Join("/proc/self/fd", itoa(c.int(dir))), true)
	} else {
		f = c.resolver().find(c.absolute(dir, raw), flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	}
	if f.errno == 0 && (!f.isFile() || f.mode&0o111 == 0) {
		f.errno = unix.EACCES
	}
	if f.errno == 0 {
		f.errno = f.access(unix.X_OK)
	}
	return f
}

// standard says what a standard descriptor refers to: a path, or
// "socket:<address of the other side>".
func (c *call) standard(fd int) string {
	at := c.fdPath(fd)
	if !strings.HasPrefix(at, "socket:") {
		return at
	}
	peer := record.Record{Addr: c.socket(fd).peer}
	if ap, ok := peer.AddrPort(); ok && ap != (netip.AddrPort{}) {
		return "socket:" + ap.String()
	}
	return "socket:"
}

package seccomp

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// quietReads are folders of the system under which a read-only open can't
// interest any rule.
var quietReads = []string{"/usr/", "/lib/", "/lib64/", "/bin/", "/etc/ld.so.cache"}

// quietOpen tells by an open's path as it was passed that it need not be
// looked at: most of what an install opens is a module, a library or what the
// package manager unpacks. The path must not lead anywhere else: links under
// system folders are the system's, unless this user can write there.
func (c *call) quietOpen(flags uint32, raw string) bool {
	if strings.Contains(raw, "/../") || strings.HasSuffix(raw, "/..") {
		return false
	}
	at := path.Clean(raw)
	if c.p.seen == firstPID && hasPrefix(at, c.s.plan.QuietOwn) {
		return true
	}
	return reading(flags) && !c.s.plan.Root && hasPrefix(at, quietReads)
}

func reading(flags uint32) bool {
	return flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) == 0
}

// quiet reports whether a record can't interest any rule. What is dropped is
// dropped by place, never by what a process says of itself.
func (c *call) quiet(r *record.Record) bool {
	switch r.Kind {
	case "":
		return true
	case "open", "openat", "openat2", "creat":
		return reading(r.Flags) && (r.Result >= 0 || r.Result == -int64(unix.ENOENT)) && hasPrefix(r.Path, quietReads) ||
			c.own(r.Path)
	case "dup", "dup2", "dup3", "accept", "accept4", "listen", "bind":
		return !inet(r.Addr)
	case "sendto", "sendmsg", "sendmmsg":
		return !inet(r.Addr)
	case "chmod", "fchmod", "fchmodat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat":
		return c.own(r.Path) && (r.Target == "" || !path.IsAbs(r.Target) || c.own(r.Target))
	}
	return false
}

// own reports whether p is where the package manager itself unpacks packages,
// and it is the package manager itself.
func (c *call) own(p string) bool {
	return c.p.seen == firstPID && hasPrefix(p, c.s.plan.QuietOwn)
}

func hasPrefix(p string, prefixes []string) bool {
	for _, q := range prefixes {
		if strings.HasPrefix(p, q) {
			return true
		}
	}
	return false
}

package seccomp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// maxAddress is sizeof(struct sockaddr_storage).
const maxAddress = 128

// socket is what one descriptor of a process is, zero for anything else.
type socket struct {
	proto       string // "tcp", "udp", "raw", "icmp"
	local, peer []byte // struct sockaddr
}

func (c *call) link(name string) string {
	target, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(c.tid), name)) // gone, or closed: ""
	return c.resolver().own(target)
}

// fdPath returns what a descriptor refers to, "" if it is closed.
func (c *call) fdPath(fd int) string {
	if fd < 0 {
		return ""
	}
	return c.link("fd/" + strconv.Itoa(fd))
}

// socket looks at a descriptor through a copy of it.
func (c *call) socket(fd int) socket {
	if fd < 0 || c.p.pidfd < 0 {
		return socket{}
	}
	mine, err := unix.PidfdGetfd(c.p.pidfd, fd, 0)
	if err != nil {
		c.broken = c.broken || err == unix.EPERM
		return socket{}
	}
	defer unix.Close(mine)
	family, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return socket{}
	}
	s := socket{local: rawName(unix.SYS_GETSOCKNAME, mine), peer: rawName(unix.SYS_GETPEERNAME, mine)}
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return s
	}
	typ, _ := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_TYPE) // it is a socket
	protocol, _ := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	switch {
	case typ == unix.SOCK_STREAM:
		s.proto = "tcp"
	case protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6:
		s.proto = "icmp"
	case typ == unix.SOCK_DGRAM:
		s.proto = "udp"
	case typ == unix.SOCK_RAW:
		s.proto = "raw"
	}
	return s
}

func connect(c *call, r *record.Record) unix.Errno {
	r.FD, r.Proto = int64(c.int(0)), c.socket(c.int(0)).proto
	r.Addr = c.bytes(c.n.Args[1], uint64(c.uint(2)), maxAddress)
	return c.reach(r.Addr)
}

func bind(c *call, r *record.Record) unix.Errno {
	r.FD, r.Proto = int64(c.int(0)), c.socket(c.int(0)).proto
	r.Addr = c.bytes(c.n.Args[1], uint64(c.uint(2)), maxAddress)
	return 0
}

func listen(c *call, r *record.Record) unix.Errno {
	accept(c, r)
	if ap, ok := r.AddrPort(); ok {
		c.s.listening[ap.Port()] = true
	}
	return 0
}

func accept(c *call, r *record.Record) unix.Errno {
	s := c.socket(c.int(0))
	r.FD, r.FDPath, r.Addr, r.Proto = int64(c.int(0)), c.fdPath(c.int(0)), s.local, s.proto
	return 0
}

func sendto(c *call, r *record.Record) unix.Errno {
	var errno unix.Errno
	if c.n.Args[4] != 0 {
		r.Addr = c.bytes(c.n.Args[4], uint64(c.uint(5)), maxAddress)
		errno = c.reach(r.Addr)
	}
	c.sent(r)
	if inet(r.Addr) {
		r.Data = c.bytes(c.n.Args[1], c.n.Args[2], record.MaxData)
	}
	return errno
}

// sendmsg reads the first buffer of struct msghdr (sendmsg(2)): name, namelen,
// iov, iovlen at offsets 0, 8, 16, 24. Struct mmsghdr begins with one.
func sendmsg(c *call, r *record.Record) unix.Errno {
	header := c.bytes(c.n.Args[1], 32, 32)
	if len(header) < 32 {
		return 0
	}
	word := func(at int) uint64 { return binary.NativeEndian.Uint64(header[at:]) }
	var errno unix.Errno
	if word(0) != 0 {
		r.Addr = c.bytes(word(0), uint64(uint32(word(8))), maxAddress)
		errno = c.reach(r.Addr)
	}
	c.sent(r)
	if inet(r.Addr) && word(16) != 0 && word(24) > 0 {
		r.Data = c.bytes(c.word(word(16)), c.word(word(16)+8), record.MaxData)
	}
	return errno
}

// sent fills in the socket, and its other side where the call names none.
func (c *call) sent(r *record.Record) {
	s := c.socket(c.int(0))
	r.FD, r.Proto = int64(c.int(0)), s.proto
	if len(r.Addr) == 0 {
		r.Addr = s.peer
	}
}

// inet reports whether addr is an IPv4 or IPv6 address.
func inet(addr []byte) bool {
	family := addressFamily(addr)
	return family == unix.AF_INET || family == unix.AF_INET6
}

func addressFamily(addr []byte) uint16 {
	if len(addr) < 2 {
		return unix.AF_UNSPEC
	}
	return binary.NativeEndian.Uint16(addr)
}

// reach refuses what leads out of the run, as an unplugged machine would: any
// address but the registry proxy's and those that the run's own processes
// listen on, and any Unix socket outside of the run's directory. The address
// can be changed after it was looked at: this stops honest mistakes and plain
// malware, not one that knows of it.
func (c *call) reach(addr []byte) unix.Errno {
	errno := unix.Errno(0)
	switch {
	case inet(addr):
		errno = c.reachIP(addr)
	case addressFamily(addr) == unix.AF_UNIX && !c.ownSocket(addr):
		errno = unix.ECONNREFUSED
	}
	if errno != 0 {
		c.s.counts.Refused++
	}
	return errno
}

func (c *call) reachIP(addr []byte) unix.Errno {
	r := record.Record{Addr: addr}
	ap, ok := r.AddrPort()
	switch {
	case !ok:
		return 0 // too short: fails by itself
	case !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified():
		return unix.ENETUNREACH
	case c.s.listening[ap.Port()] || ap == netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.s.plan.RegistryPort):
		return 0
	}
	return unix.ECONNREFUSED
}

func (c *call) ownSocket(addr []byte) bool {
	name, _, _ := strings.Cut(string(addr[2:]), "\x00")
	if name == "" {
		return len(addr) <= 2 // abstract ones belong to the machine
	}
	f := c.resolver().find(c.absolute(-1, name), true)
	defer f.close()
	return f.errno != 0 || strings.HasPrefix(path.Clean(f.path), c.s.plan.Dir+"/")
}

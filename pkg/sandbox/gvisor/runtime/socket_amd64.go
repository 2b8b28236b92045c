package runtime

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/marshal"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/socket"
	"gvisor.dev/gvisor/pkg/syserr"
)

// withSocket calls f if fd is a socket.
func withSocket(t *kernel.Task, fd int32, f func(socket.Socket)) {
	if fd < 0 || t.FDTable() == nil {
		return
	}
	file, _ := t.FDTable().Get(fd)
	if file == nil {
		return
	}
	defer file.DecRef(t)
	if s, ok := file.Impl().(socket.Socket); ok {
		f(s)
	}
}

// peerAddress is a socket's other side as struct sockaddr, nil if it has none.
func peerAddress(t *kernel.Task, fd int32) (addr []byte) {
	withSocket(t, fd, func(s socket.Socket) { addr = sockaddr(s.GetPeerName(t)) })
	return addr
}

// localAddress is a socket's own address as struct sockaddr.
func localAddress(t *kernel.Task, fd int32) (addr []byte) {
	withSocket(t, fd, func(s socket.Socket) { addr = sockaddr(s.GetSockName(t)) })
	return addr
}

func sockaddr(addr linux.SockAddr, _ uint32, err *syserr.Error) []byte {
	if err != nil || addr == nil {
		return nil
	}
	return marshal.Marshal(addr)
}

// protocol names a socket's transport, "" for anything else.
func protocol(t *kernel.Task, fd int32) (name string) {
	withSocket(t, fd, func(s socket.Socket) {
		family, typ, number := s.Type()
		switch {
		case family != linux.AF_INET && family != linux.AF_INET6:
		case typ == linux.SOCK_STREAM:
			name = "tcp"
		case number == linux.IPPROTO_ICMP || number == linux.IPPROTO_ICMPV6:
			name = "icmp"
		case typ == linux.SOCK_DGRAM:
			name = "udp"
		case typ == linux.SOCK_RAW:
			name = "raw"
		}
	})
	return name
}

// inet reports whether addr is an IPv4 or IPv6 address.
func inet(addr []byte) bool {
	if len(addr) < 2 {
		return false
	}
	f := binary.NativeEndian.Uint16(addr)
	return f == linux.AF_INET || f == linux.AF_INET6
}

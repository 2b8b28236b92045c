package runtime

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/marshal"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/socket"
	"gvisor.dev/gvisor/pkg/syserr"
)

// withSocket calls f if fd is a socket and returns the address it yields as
// struct sockaddr; nil for anything else.
func withSocket(t *kernel.Task, fd int32, f func(socket.Socket) (linux.SockAddr, uint32, *syserr.Error)) []byte {
	if fd < 0 || t.FDTable() == nil {
		return nil
	}
	file, _ := t.FDTable().Get(fd)
	if file == nil {
		return nil
	}
	defer file.DecRef(t)
	s, ok := file.Impl().(socket.Socket)
	if !ok {
		return nil
	}
	addr, _, err := f(s)
	if err != nil || addr == nil {
		return nil
	}
	return marshal.Marshal(addr)
}

func peerAddress(t *kernel.Task, fd int32) []byte {
	return withSocket(t, fd, func(s socket.Socket) (linux.SockAddr, uint32, *syserr.Error) { return s.GetPeerName(t) })
}

func localAddress(t *kernel.Task, fd int32) []byte {
	return withSocket(t, fd, func(s socket.Socket) (linux.SockAddr, uint32, *syserr.Error) { return s.GetSockName(t) })
}

// inet reports whether addr is an IPv4 or IPv6 address.
func inet(addr []byte) bool {
	if len(addr) < 2 {
		return false
	}
	f := binary.NativeEndian.Uint16(addr)
	return f == linux.AF_INET || f == linux.AF_INET6
}

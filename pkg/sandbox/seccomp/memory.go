package seccomp

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Bounds on what is read of a process, in bytes and entries.
const (
	pageSize = 4096
	pathMax  = 4096
	firstBit = 256  // most paths end within
	maxEnv   = 4096 // environment entries looked at
)

// copyIn reads from another process. It stops at the first page that can't be
// read and returns what it has.
func copyIn(pid int, addr uint64, b []byte) []byte {
	got := 0
	for got < len(b) {
		at := addr + uint64(got)
		part := b[got:min(len(b), got+pageSize-int(at%pageSize))]
		local := []unix.Iovec{{Base: &part[0], Len: uint64(len(part))}}
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(part)}}, 0)
		if err != nil || n <= 0 {
			break
		}
		got += n
	}
	return b[:got]
}

// memory reads one thread's memory and remembers whether something could not
// be read that the thread meant to be there.
type memory struct {
	tid    int
	broken bool
}

func (m *memory) bytes(addr uint64, n uint64, limit uint64) []byte {
	if addr == 0 || n == 0 {
		return nil
	}
	b := copyIn(m.tid, addr, make([]byte, min(n, limit)))
	if len(b) == 0 {
		m.broken = true
	}
	return b
}

// text reads a string that ends with a zero, or at limit. A string that can't
// be read to its end would fail with EFAULT in the call itself; only one of
// which nothing can be read counts as broken.
func (m *memory) text(addr uint64, limit int) string {
	if addr == 0 {
		return ""
	}
	var out []byte
	for size := firstBit; len(out) < limit; size = pageSize {
		at := addr + uint64(len(out))
		part := copyIn(m.tid, at, make([]byte, min(size, pageSize-int(at%pageSize), limit-len(out))))
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(append(out, part[:i]...))
		}
		if len(part) == 0 {
			m.broken = m.broken || len(out) == 0
			break
		}
		out = append(out, part...)
	}
	return string(out)
}

func (m *memory) word(addr uint64) uint64 {
	b := m.bytes(addr, 8, 8)
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

// pointers reads an array of pointers that ends with a null.
func (m *memory) pointers(addr uint64, limit int) []uint64 {
	var out []uint64
	for addr != 0 && len(out) < limit {
		part := m.bytes(addr, 512, 512)
		for ; len(part) >= 8; part = part[8:] {
			p := binary.NativeEndian.Uint64(part)
			if p == 0 || len(out) == limit {
				return out
			}
			out = append(out, p)
			addr += 8
		}
		if len(part) > 0 || m.broken {
			break
		}
	}
	return out
}

// argv reads as many arguments as a record holds.
func (m *memory) argv(addr uint64) []string {
	var out []string
	for _, p := range m.pointers(addr, record.MaxList) {
		out = append(out, m.text(p, record.MaxString))
	}
	return out
}

// env reads the variables with the given names.
func (m *memory) env(addr uint64, names map[string]bool) []string {
	var out []string
	for _, p := range m.pointers(addr, maxEnv) {
		entry := m.text(p, record.MaxString)
		if name, _, ok := strings.Cut(entry, "="); ok && names[name] && len(out) < record.MaxList {
			out = append(out, entry)
		}
	}
	return out
}

// rawName returns a socket's own (SYS_GETSOCKNAME) or other (SYS_GETPEERNAME)
// address as struct sockaddr, nil if it has none.
func rawName(call uintptr, fd int) []byte {
	var buf [128]byte // sizeof(struct sockaddr_storage)
	size := uint32(len(buf))
	if _, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return nil
	}
	return append([]byte(nil), buf[:min(int(size), len(buf))]...)
}

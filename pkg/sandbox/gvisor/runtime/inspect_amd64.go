package runtime

import (
	"slices"
	"strings"
	"sync"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/marshal/primitive"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/pipe"
	"gvisor.dev/gvisor/pkg/sentry/socket"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/usermem"

	"github.com/falconer-sec/falconer/pkg/canary/leak"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// carriers are the calls that are reported only if a canary leaves with them.
// One that is among points too is described there.
var carriers = []point{
	{1, "write", enter, nil},
	{20, "writev", enter, nil},
	{18, "pwrite64", enter, nil},
	{296, "pwritev", enter, nil},
	{328, "pwritev2", enter, nil},
	{40, "sendfile", exit, nil},
	{275, "splice", exit, nil},
	{326, "copy_file_range", exit, nil},
}

// observed are all calls that have a point.
func observed() []point {
	out := slices.Clone(points)
	for _, p := range carriers {
		if !slices.ContainsFunc(points, func(o point) bool { return o.sysno == p.sysno }) {
			out = append(out, p)
		}
	}
	return out
}

// inspect looks for canaries in what a call takes out of its process, all of
// it, and reports whether there is one. The record has been described.
func inspect(t *kernel.Task, c *call, r *record.Record) bool {
	w := baited()
	if w == nil {
		return false
	}
	in := inspector{t: t, w: w, r: r}
	switch r.Kind {
	case "write", "pwrite64":
		if in.to(c.Args[0].Int()) {
			in.memory(hostarch.AddrRangeSeqOf(span(c.ptr(1), uint64(c.Args[2].SizeT()))))
		}
	case "writev", "pwritev", "pwritev2":
		if in.to(c.Args[0].Int()) {
			in.vector(c.ptr(1), uint64(c.Args[2].SizeT()))
		}
	case "sendto":
		if in.to(c.Args[0].Int()) && !in.query() {
			in.memory(hostarch.AddrRangeSeqOf(span(c.ptr(1), uint64(c.Args[2].SizeT()))))
		}
	case "sendmsg":
		if in.to(c.Args[0].Int()) {
			in.message(c.ptr(1))
		}
	case "sendmmsg":
		const size = 64 // of struct mmsghdr, which begins with a struct msghdr
		for i := 0; i < min(int(c.Args[2].Uint()), linux.UIO_MAXIOV) && in.to(c.Args[0].Int()); i++ {
			in.message(c.ptr(1) + hostarch.Addr(size*i))
		}
	case "sendfile":
		if r.Result > 0 && in.to(c.Args[0].Int()) {
			in.file(c.Args[1].Int(), c.ptr(2), r.Result)
		}
	case "splice", "copy_file_range":
		if r.Result > 0 {
			if !in.to(c.Args[2].Int()) {
				in.where = leak.Pipe
			}
			in.file(c.Args[0].Int(), c.ptr(1), r.Result)
		}
	default:
		w.Paths(r)
		return r.Canary != ""
	}
	return in.leaves()
}

// inspector is one call's inspection.
type inspector struct {
	t     *kernel.Task
	w     *leak.Watch
	r     *record.Record
	where string
}

// to says which descriptor the data goes to, and reports whether that is a way
// out: a file, or a connection to another machine. Between processes, data has
// not left.
func (in *inspector) to(fd int32) bool {
	in.r.FD = int64(fd)
	if fd < 0 || in.t.FDTable() == nil {
		return false
	}
	file, _ := in.t.FDTable().Get(fd)
	if file == nil {
		return false
	}
	defer file.DecRef(in.t)
	in.where = leak.File
	switch impl := file.Impl().(type) {
	case *pipe.VFSPipeFD:
		return false
	case socket.Socket:
		family, _, _ := impl.Type()
		if family != linux.AF_INET && family != linux.AF_INET6 {
			return false
		}
		in.where = leak.Connection
		if len(in.r.Addr) == 0 {
			in.r.Addr = sockaddr(impl.GetPeerName(in.t))
		}
		if in.r.Proto == "" {
			in.r.Proto = protocol(in.t, fd)
		}
	}
	return true
}

// leaves completes the record of a call with a canary. What is written to a
// device stays where it is.
func (in *inspector) leaves() bool {
	r := in.r
	if r.Canary == "" || r.CanaryWhere != leak.File {
		return r.Canary != ""
	}
	r.FDPath = fdPath(in.t, int32(r.FD))
	if strings.HasPrefix(r.FDPath, "/") && (!strings.HasPrefix(r.FDPath, "/dev/") || strings.HasPrefix(r.FDPath, "/dev/shm/")) {
		return true
	}
	r.Canary, r.CanaryWhere, r.CanaryForm = "", "", ""
	return false
}

// query searches a datagram to a name server; false if it is none.
func (in *inspector) query() bool {
	if !leak.IsQuery(in.r) {
		return false
	}
	in.w.Asked(in.r, in.r.Data)
	return true
}

// message searches a struct msghdr: name, namelen, iov and iovlen are at
// offsets 0, 8, 16 and 24.
func (in *inspector) message(at hostarch.Addr) {
	var iov, n primitive.Uint64
	if _, err := iov.CopyIn(in.t, at+16); err != nil {
		return
	}
	if _, err := n.CopyIn(in.t, at+24); err != nil {
		return
	}
	if leak.IsQuery(in.r) {
		if first, err := in.t.CopyInIovecs(hostarch.Addr(iov), 1); err == nil && n > 0 && !first.IsEmpty() {
			head := first.Head()
			in.w.Asked(in.r, bytesArg(in.t, head.Start, uint(head.Length())))
		}
		return
	}
	in.vector(hostarch.Addr(iov), uint64(n))
}

// vector searches n buffers of a struct iovec.
func (in *inspector) vector(iov hostarch.Addr, n uint64) {
	if n == 0 || n > linux.UIO_MAXIOV {
		return
	}
	if seq, err := in.t.CopyInIovecs(iov, int(n)); err == nil {
		in.memory(seq)
	}
}

// pieces are buffers for what is searched at a time.
var pieces = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func (in *inspector) memory(seq hostarch.AddrRangeSeq) {
	piece := pieces.Get().(*[64 << 10]byte)
	defer pieces.Put(piece)
	for ; !seq.IsEmpty(); seq = seq.Tail() {
		for ar := seq.Head(); ar.Length() > 0; {
			b := piece[:min(uint64(len(piece)), uint64(ar.Length()))]
			n, err := in.t.CopyInBytes(ar.Start, b)
			in.w.Sent(in.r, in.where, b[:n])
			if err != nil {
				return
			}
			ar.Start += hostarch.Addr(n)
		}
	}
}

// file searches the n bytes of a file that have just been sent from it: those
// before the offset at that address, or before the file's own for 0.
func (in *inspector) file(fd int32, offset hostarch.Addr, n int64) {
	file, _ := in.t.FDTable().Get(fd)
	if file == nil {
		return
	}
	defer file.DecRef(in.t)
	end := in.position(file, offset)
	piece := pieces.Get().(*[64 << 10]byte)
	defer pieces.Put(piece)
	for at := max(end-n, 0); at < end; {
		b := piece[:min(int64(len(piece)), end-at)]
		got, err := file.PRead(in.t, usermem.BytesIOSequence(b), at, vfs.ReadOptions{})
		in.w.Sent(in.r, in.where, b[:got])
		if err != nil || got == 0 {
			return
		}
		at += got
	}
}

// position is an offset after a call moved it, 0 for what has none.
func (in *inspector) position(file *vfs.FileDescription, offset hostarch.Addr) int64 {
	if offset == 0 {
		at, err := file.Seek(in.t, 0, linux.SEEK_CUR)
		if err != nil {
			return 0
		}
		return at
	}
	var at primitive.Int64
	if _, err := at.CopyIn(in.t, offset); err != nil {
		return 0
	}
	return int64(at)
}

// span is a range of memory, empty where it is none.
func span(at hostarch.Addr, size uint64) hostarch.AddrRange {
	ar, ok := at.ToRange(min(size, uint64(linux.MAX_RW_COUNT)))
	if !ok {
		return hostarch.AddrRange{}
	}
	return ar
}

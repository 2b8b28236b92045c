package runtime

import (
	"path"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/marshal/primitive"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	syscalls "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// MessageRecord is the message type of our own points on gVisor's remote sink:
// a BytesValue that holds an encoded record.
const MessageRecord pb.MessageType = 1000

// describe fills a record from one call's arguments.
type describe func(t *kernel.Task, c *call, r *record.Record)

// point is one system call of ours: where stock gVisor has a point of the same
// name, ours replaces what it reports, because it resolves paths.
type point struct {
	sysno uintptr
	name  string
	when  phase
	fill  describe
}

type phase bool

const (
	enter phase = false // calls that can block for ever, or never return
	exit  phase = true
)

// points lists what is observed. Numbers are x86-64's.
var points = []point{
	{2, "open", exit, open(-1, 0, 1, 2)},
	{85, "creat", exit, creat},
	{257, "openat", exit, open(0, 1, 2, 3)},
	{437, "openat2", exit, openat2},
	{87, "unlink", exit, onePath(-1, 0)},
	{263, "unlinkat", exit, onePath(0, 1)},
	{84, "rmdir", exit, onePath(-1, 0)},
	{82, "rename", exit, twoPaths(-1, 0, -1, 1)},
	{264, "renameat", exit, twoPaths(0, 1, 2, 3)},
	{316, "renameat2", exit, twoPaths(0, 1, 2, 3)},
	{86, "link", exit, twoPaths(-1, 0, -1, 1)},
	{265, "linkat", exit, twoPaths(0, 1, 2, 3)},
	{88, "symlink", exit, symlink(0, -1, 1)},
	{266, "symlinkat", exit, symlink(0, 1, 2)},
	{90, "chmod", exit, chmod(-1, 0, 1)},
	{91, "fchmod", exit, fchmod},
	{268, "fchmodat", exit, chmod(0, 1, 2)},
	{319, "memfd_create", exit, memfdCreate},
	{42, "connect", enter, address},
	{49, "bind", exit, address},
	{50, "listen", exit, descriptor},
	{43, "accept", enter, descriptor},
	{288, "accept4", enter, descriptor},
	{44, "sendto", enter, sendto},
	{46, "sendmsg", enter, sendmsg},
	{307, "sendmmsg", enter, sendmmsg},
	{32, "dup", exit, dup},
	{33, "dup2", exit, dup},
	{292, "dup3", exit, dup},
	{101, "ptrace", enter, ptrace},
	{310, "process_vm_readv", enter, otherProcess},
	{311, "process_vm_writev", enter, otherProcess},
	{80, "chdir", exit, onePath(-1, 0)},
	{81, "fchdir", exit, descriptor},
	{165, "mount", enter, onePath(-1, 1)},
	{175, "init_module", enter, nothing},
	{321, "bpf", enter, nothing},
	{105, "setuid", exit, nothing},
	{59, "execve", enter, soughtProgram(0, 1)},
	{76, "truncate", exit, onePath(-1, 0)},
	{4, "stat", exit, absentProgram(-1, 0)},
	{262, "newfstatat", exit, absentProgram(0, 1)},
	{21, "access", exit, absentProgram(-1, 0)},
	{269, "faccessat", exit, absentProgram(0, 1)},
	{439, "faccessat2", exit, absentProgram(0, 1)},
	{1, "write", enter, write},
	{20, "writev", enter, writev},
}

// contextFields is what every point of ours takes from gVisor's context.
var contextFields = []string{"time", "thread_id", "group_id", "parent_thread_group_id", "credentials", "process_name"}

// PointName is the name of a system call's point in a trace session.
func (p point) PointName() string {
	if p.when == exit {
		return "syscall/falconer/" + p.name + "/exit"
	}
	return "syscall/falconer/" + p.name + "/enter"
}

// registerPoints adds our points to gVisor's and hooks them into its system
// call table. It is called before the kernel starts.
func registerPoints() {
	fields := seccheck.Points["syscall/openat/exit"].ContextFields
	for _, p := range observed() {
		typ := seccheck.SyscallEnter
		if p.when == exit {
			typ = seccheck.SyscallExit
		}
		seccheck.Points[p.PointName()] = seccheck.PointDesc{
			ID: seccheck.GetPointForSyscall(typ, p.sysno), Name: p.PointName(), ContextFields: fields,
		}
		sc := syscalls.AMD64.Table[p.sysno]
		sc.PointCallback = p.callback()
		syscalls.AMD64.Table[p.sysno] = sc
	}
	syscalls.AMD64.Init()
}

func (p point) callback() kernel.SyscallToProto {
	return func(t *kernel.Task, _ seccheck.FieldSet, ctx *pb.ContextData, info kernel.SyscallInfo) (proto.Message, pb.MessageType) {
		r := record.Record{Kind: p.name}
		setContext(&r, ctx)
		if info.Exit {
			r.HasResult, r.Result = true, int64(info.Rval)
			if info.Errno != 0 {
				r.Result = -int64(info.Errno)
			}
		}
		c := &call{SyscallInfo: info}
		if p.fill != nil {
			p.fill(t, c, &r)
		}
		if !inspect(t, c, &r) && (p.fill == nil || filtered(&r)) {
			return nil, MessageRecord
		}
		return wrapperspb.Bytes(r.Append(nil)), MessageRecord
	}
}

func setContext(r *record.Record, ctx *pb.ContextData) {
	if ctx == nil {
		return
	}
	r.TimeNS, r.Container = ctx.TimeNs-skipped.Load(), ctx.ContainerId
	r.TID, r.TGID, r.PTGID = ctx.ThreadId, ctx.ThreadGroupId, ctx.ParentThreadGroupId
	r.Cwd, r.Comm = ctx.Cwd, ctx.ProcessName
	if c := ctx.Credentials; c != nil {
		r.UID, r.GID = c.EffectiveUid, c.EffectiveGid
	}
}

// call gives the describers typed access to a call's arguments.
type call struct{ kernel.SyscallInfo }

func (c *call) ptr(i int) hostarch.Addr { return c.Args[i].Pointer() }

// dirfd returns argument i as a directory descriptor, or AT_FDCWD for i < 0.
func (c *call) dirfd(i int) int32 {
	if i < 0 {
		return linux.AT_FDCWD
	}
	return c.Args[i].Int()
}

// pathArg reads a path argument and makes it absolute, lexically, against its
// directory descriptor or the working directory.
func pathArg(t *kernel.Task, dirfd int32, addr hostarch.Addr) string {
	p, err := t.CopyInString(addr, linux.PATH_MAX)
	if err != nil {
		return ""
	}
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	dir := ""
	if dirfd == linux.AT_FDCWD {
		dir = cwd(t)
	} else {
		dir = fdPath(t, dirfd)
	}
	if p == "" {
		return dir
	}
	return path.Join(dir, p)
}

func cwd(t *kernel.Task) string {
	fs := t.FSContext()
	if fs == nil {
		return ""
	}
	root, wd := fs.RootDirectory(), fs.WorkingDirectory()
	if !root.Ok() {
		return ""
	}
	defer root.DecRef(t)
	if !wd.Ok() {
		return ""
	}
	defer wd.DecRef(t)
	p, _ := t.Kernel().VFS().PathnameWithDeleted(t, root, wd)
	return p
}

// fdPath returns the path of an open descriptor with links resolved, or a
// description such as "socket:[7]" where it has none.
func fdPath(t *kernel.Task, fd int32) string {
	if fd < 0 || t.FDTable() == nil {
		return ""
	}
	file, _ := t.FDTable().Get(fd)
	if file == nil {
		return ""
	}
	defer file.DecRef(t)
	root := t.MountNamespace().Root(t)
	defer root.DecRef(t)
	p, err := t.Kernel().VFS().PathnameWithDeleted(t, root, file.VirtualDentry())
	if err != nil {
		return ""
	}
	return p
}

// opened fills in the path of an open: the file that was opened if it was, the
// one that was asked for otherwise, and also where links made it another.
func opened(t *kernel.Task, c *call, r *record.Record, dirfd int32, addr hostarch.Addr) {
	asked := pathArg(t, dirfd, addr)
	r.Path = asked
	if r.Result < 0 {
		return
	}
	r.FD = r.Result
	if real := fdPath(t, int32(r.Result)); real != "" && real != asked {
		r.Path, r.Raw = real, asked
	}
}

func open(dir, name, flags, mode int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		r.Flags = c.Args[flags].Uint()
		if r.Flags&linux.O_CREAT != 0 {
			r.Mode = uint32(c.Args[mode].ModeT())
		}
		opened(t, c, r, c.dirfd(dir), c.ptr(name))
	}
}

func creat(t *kernel.Task, c *call, r *record.Record) {
	r.Flags = linux.O_WRONLY | linux.O_CREAT | linux.O_TRUNC
	r.Mode = uint32(c.Args[1].ModeT())
	opened(t, c, r, linux.AT_FDCWD, c.ptr(0))
}

// openat2 reads struct open_how { u64 flags, mode, resolve } (openat2(2)).
func openat2(t *kernel.Task, c *call, r *record.Record) {
	var how [2]uint64
	var v primitive.Uint64
	for i := range how {
		if _, err := v.CopyIn(t, c.ptr(2)+hostarch.Addr(8*i)); err == nil {
			how[i] = uint64(v)
		}
	}
	r.Flags, r.Mode = uint32(how[0]), uint32(how[1])
	opened(t, c, r, c.Args[0].Int(), c.ptr(1))
}

func onePath(dir, name int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		r.Path = pathArg(t, c.dirfd(dir), c.ptr(name))
	}
}

func twoPaths(dir1, name1, dir2, name2 int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		r.Path = pathArg(t, c.dirfd(dir1), c.ptr(name1))
		r.Target = pathArg(t, c.dirfd(dir2), c.ptr(name2))
	}
}

// symlink reports the link as Path and what it points to, as written, as Target.
func symlink(target, dir, name int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		r.Path = pathArg(t, c.dirfd(dir), c.ptr(name))
		r.Target, _ = t.CopyInString(c.ptr(target), linux.PATH_MAX)
	}
}

func chmod(dir, name, mode int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		r.Path = pathArg(t, c.dirfd(dir), c.ptr(name))
		r.Mode = uint32(c.Args[mode].ModeT())
	}
}

func fchmod(t *kernel.Task, c *call, r *record.Record) {
	r.FD = int64(c.Args[0].Int())
	r.Path = fdPath(t, c.Args[0].Int())
	r.Mode = uint32(c.Args[1].ModeT())
}

func memfdCreate(t *kernel.Task, c *call, r *record.Record) {
	name, _ := t.CopyInString(c.ptr(0), 250) // MFD_NAME_MAX_LEN
	r.Path = "memfd:" + name
	r.Flags = c.Args[1].Uint()
	r.FD = r.Result
}

func descriptor(t *kernel.Task, c *call, r *record.Record) {
	r.FD = int64(c.Args[0].Int())
	r.FDPath = fdPath(t, c.Args[0].Int())
	r.Addr, r.Proto = localAddress(t, c.Args[0].Int()), protocol(t, c.Args[0].Int())
}

func address(t *kernel.Task, c *call, r *record.Record) {
	r.FD, r.Proto = int64(c.Args[0].Int()), protocol(t, c.Args[0].Int())
	r.Addr, _ = syscalls.CaptureAddress(t, c.ptr(1), c.Args[2].Uint())
}

func sendto(t *kernel.Task, c *call, r *record.Record) {
	r.FD, r.Proto = int64(c.Args[0].Int()), protocol(t, c.Args[0].Int())
	if c.ptr(4) != 0 {
		r.Addr, _ = syscalls.CaptureAddress(t, c.ptr(4), c.Args[5].Uint())
	} else {
		r.Addr = peerAddress(t, c.Args[0].Int())
	}
	r.Data = bytesArg(t, c.ptr(1), c.Args[2].SizeT())
}

// sendmsg reads the first buffer of struct msghdr (sendmsg(2)): name, namelen,
// iov, iovlen at offsets 0, 8, 16, 24.
func sendmsg(t *kernel.Task, c *call, r *record.Record) {
	r.FD, r.Proto = int64(c.Args[0].Int()), protocol(t, c.Args[0].Int())
	messageHeader(t, c.ptr(1), r)
	if len(r.Addr) == 0 {
		r.Addr = peerAddress(t, c.Args[0].Int())
	}
}

// sendmmsg reports the first of its messages; struct mmsghdr begins with a
// struct msghdr.
func sendmmsg(t *kernel.Task, c *call, r *record.Record) { sendmsg(t, c, r) }

func messageHeader(t *kernel.Task, addr hostarch.Addr, r *record.Record) {
	word := func(at hostarch.Addr) uint64 {
		var v primitive.Uint64
		if _, err := v.CopyIn(t, at); err != nil {
			return 0
		}
		return uint64(v)
	}
	if name := word(addr); name != 0 {
		r.Addr, _ = syscalls.CaptureAddress(t, hostarch.Addr(name), uint32(word(addr+8)))
	}
	if iov := word(addr + 16); iov != 0 && word(addr+24) > 0 {
		r.Data = bytesArg(t, hostarch.Addr(word(hostarch.Addr(iov))), uint(word(hostarch.Addr(iov)+8)))
	}
}

func bytesArg(t *kernel.Task, addr hostarch.Addr, size uint) []byte {
	b := make([]byte, min(size, record.MaxData))
	n, _ := t.CopyInBytes(addr, b)
	return b[:n]
}

// dup reports the new descriptor and what it refers to.
func dup(t *kernel.Task, c *call, r *record.Record) {
	r.FD = r.Result
	r.FDPath = fdPath(t, c.Args[0].Int())
	r.Addr = peerAddress(t, c.Args[0].Int())
}

// maxTried bounds what is read of a list of arguments or buffers.
const maxTried = 32

// write reports the first bytes of what goes to a connection. Other files
// are not asked for an address, so they stay in the kernel.
func write(t *kernel.Task, c *call, r *record.Record) {
	r.FD = int64(c.Args[0].Int())
	if r.Addr = peerAddress(t, c.Args[0].Int()); inet(r.Addr) {
		r.Proto, r.Data = protocol(t, c.Args[0].Int()), bytesArg(t, c.ptr(1), c.Args[2].SizeT())
	}
}

// writev reports the first bytes of its buffers together: struct iovec is a
// pointer and a length.
func writev(t *kernel.Task, c *call, r *record.Record) {
	r.FD = int64(c.Args[0].Int())
	if r.Addr = peerAddress(t, c.Args[0].Int()); !inet(r.Addr) {
		return
	}
	r.Proto = protocol(t, c.Args[0].Int())
	for i := 0; i < min(int(c.Args[2].Int()), maxTried) && len(r.Data) < record.MaxData; i++ {
		var at, size primitive.Uint64
		iov := c.ptr(1) + hostarch.Addr(16*i)
		if _, err := at.CopyIn(t, iov); err != nil {
			return
		}
		if _, err := size.CopyIn(t, iov+8); err != nil {
			return
		}
		more := bytesArg(t, hostarch.Addr(at), uint(size))
		r.Data = append(r.Data, more[:min(len(more), record.MaxData-len(r.Data))]...)
	}
}

func ptrace(_ *kernel.Task, c *call, r *record.Record) {
	r.Flags = c.Args[0].Uint()
	r.ChildTGID = c.Args[1].Int()
}

func otherProcess(_ *kernel.Task, c *call, r *record.Record) { r.ChildTGID = c.Args[0].Int() }

func nothing(*kernel.Task, *call, *record.Record) {}

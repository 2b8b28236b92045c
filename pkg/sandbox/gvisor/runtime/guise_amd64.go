package runtime

import (
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	syscalls "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Numbers of the calls that the guise words anew, on x86-64.
const (
	sysOpen           = 2
	sysNanosleep      = 35
	sysUname          = 63
	sysSyslog         = 103
	sysStatfs         = 137
	sysFstatfs        = 138
	sysClockNanosleep = 230
	sysOpenat         = 257
	sysOpenat2        = 437
)

// hook puts g before gVisor's own system calls. It is called before the kernel
// starts, and before registerPoints, which compiles the table.
func (g *guise) hook() {
	for no, wrap := range map[uintptr]func(kernel.SyscallFn) kernel.SyscallFn{
		sysUname:          g.uname,
		sysSyslog:         g.syslog,
		sysOpen:           g.open,
		sysOpenat:         g.open,
		sysOpenat2:        g.open,
		sysStatfs:         g.statfs,
		sysFstatfs:        g.statfs,
		sysNanosleep:      g.nanosleep,
		sysClockNanosleep: g.clockNanosleep,
	} {
		call := syscalls.AMD64.Table[no]
		call.Fn = wrap(call.Fn)
		syscalls.AMD64.Table[no] = call
	}
}

// uname lets gVisor answer, and words release and version anew.
func (g *guise) uname(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		ret, ctl, err := next(t, no, args)
		if err != nil || !g.worn.Load() {
			return ret, ctl, err
		}
		var u linux.UtsName
		if _, err := u.CopyIn(t, args[0].Pointer()); err != nil {
			return 0, nil, err
		}
		clear(u.Release[:])
		clear(u.Version[:])
		copy(u.Release[:], guest.KernelRelease)
		copy(u.Version[:], guest.KernelVersion)
		_, err = u.CopyOut(t, args[0].Pointer())
		return 0, nil, err
	}
}

// syslog refuses, as Debian's kernel does in a container: kernel.dmesg_restrict
// is 1 there, and nobody inside has CAP_SYSLOG.
func (g *guise) syslog(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if !g.worn.Load() {
			return next(t, no, args)
		}
		return 0, nil, linuxerr.EPERM
	}
}

// open disguises what was opened before its opener can read it.
func (g *guise) open(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		ret, ctl, err := next(t, no, args)
		if err == nil && ctl == nil && g.worn.Load() {
			g.disguise(t, int32(ret))
		}
		return ret, ctl, err
	}
}

// The disk that the machine has, in bytes, and how much of it others use.
const (
	diskSize = 98_834_644_992
	diskUsed = 41_207_316_480
)

// overlayMagic is OVERLAYFS_SUPER_MAGIC, v9fsMagic V9FS_MAGIC (statfs(2)).
const (
	overlayMagic = 0x794c7630
	v9fsMagic    = 0x01021997
)

// statfs gives the root and what is mounted into it the size of a disk: the
// overlays in memory have none, and what lies beneath is the host's.
func (g *guise) statfs(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		ret, ctl, err := next(t, no, args)
		if err != nil || !g.worn.Load() {
			return ret, ctl, err
		}
		var s linux.Statfs
		if _, err := s.CopyIn(t, args[1].Pointer()); err != nil {
			return 0, nil, err
		}
		if s.Type != overlayMagic && s.Type != v9fsMagic {
			return ret, ctl, nil
		}
		const block = hostarch.PageSize
		used := uint64(diskUsed) / block
		if s.Type == overlayMagic {
			used += s.Blocks - s.BlocksFree
		}
		s.Type, s.BlockSize, s.FragmentSize = overlayMagic, block, block
		s.Blocks = diskSize / block
		s.BlocksFree = s.Blocks - min(s.Blocks, used)
		s.BlocksAvailable = s.BlocksFree - min(s.BlocksFree, s.Blocks/20) // 5 % are root's, as mkfs.ext4 has it
		s.Files, s.FilesFree = diskSize/16384, diskSize/16384-412_330
		_, err = s.CopyOut(t, args[1].Pointer())
		return 0, nil, err
	}
}

func (g *guise) nanosleep(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		g.asleep(t, timespec(t, args[0].Pointer()))
		return next(t, no, args)
	}
}

func (g *guise) clockNanosleep(next kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		length := timespec(t, args[2].Pointer())
		if args[1].Int()&linux.TIMER_ABSTIME != 0 {
			clock := t.Kernel().MonotonicClock()
			if args[0].Int() == linux.CLOCK_REALTIME {
				clock = t.Kernel().RealtimeClock()
			}
			length -= time.Duration(clock.Now().Nanoseconds())
		}
		g.asleep(t, length)
		return next(t, no, args)
	}
}

// timespec reads a struct timespec, 0 if there is none.
func timespec(t *kernel.Task, addr hostarch.Addr) time.Duration {
	var ts linux.Timespec
	if _, err := ts.CopyIn(t, addr); err != nil || ts.Sec < 0 || ts.Nsec < 0 {
		return 0
	}
	return ts.ToDuration()
}

// asleep reports a long sleep when it begins, skipped or not.
func (g *guise) asleep(t *kernel.Task, length time.Duration) {
	if length < longWait || !g.worn.Load() {
		return
	}
	if id := int32(t.Kernel().TaskSet().Root.IDOfThreadGroup(t.ThreadGroup())); id > managerTGID && !g.pollsters.has(id) {
		reportWait(t, length)
	}
}

// reportWait tells the sensor how long a task wants to wait.
func reportWait(t *kernel.Task, length time.Duration) {
	fields := seccheck.Global.GetFieldSet(seccheck.PointClone)
	context := &pb.ContextData{}
	kernel.LoadSeccheckData(t, fields.Context, context)
	r := record.Record{Kind: record.KindWait, IntervalNS: int64(length)}
	setContext(&r, context)
	raw := wrapperspb.Bytes(r.Append(nil))
	_ = seccheck.Global.SentToSinks(func(s seccheck.Sink) error { return s.Syscall(t, fields, context, MessageRecord, raw) })
}

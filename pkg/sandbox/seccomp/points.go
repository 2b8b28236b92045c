package seccomp

import (
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// point is an observed system call. fill describes it in a record, by the same
// names and fields as gVisor's points do, and says whether it is refused.
type point struct {
	name string
	fill func(c *call, r *record.Record) unix.Errno
}

// points lists what is reported, beside the life cycle of processes.
var points = map[int]point{
	unix.SYS_OPEN:              {"open", open(-1, 0, 1, 2)},
	unix.SYS_CREAT:             {"creat", creat},
	unix.SYS_OPENAT:            {"openat", open(0, 1, 2, 3)},
	unix.SYS_OPENAT2:           {"openat2", openat2},
	unix.SYS_UNLINK:            {"unlink", removed(-1, 0)},
	unix.SYS_UNLINKAT:          {"unlinkat", removed(0, 1)},
	unix.SYS_RMDIR:             {"rmdir", removed(-1, 0)},
	unix.SYS_RENAME:            {"rename", renamed(-1, 0, -1, 1)},
	unix.SYS_RENAMEAT:          {"renameat", renamed(0, 1, 2, 3)},
	unix.SYS_RENAMEAT2:         {"renameat2", renamed(0, 1, 2, 3)},
	unix.SYS_LINK:              {"link", linked(-1, 0, -1, 1)},
	unix.SYS_LINKAT:            {"linkat", linked(0, 1, 2, 3)},
	unix.SYS_SYMLINK:           {"symlink", symlinked(0, -1, 1)},
	unix.SYS_SYMLINKAT:         {"symlinkat", symlinked(0, 1, 2)},
	unix.SYS_CHMOD:             {"chmod", chmod(-1, 0, 1)},
	unix.SYS_FCHMOD:            {"fchmod", fchmod},
	unix.SYS_FCHMODAT:          {"fchmodat", chmod(0, 1, 2)},
	fchmodat2:                  {"fchmodat", chmod(0, 1, 2)},
	unix.SYS_MEMFD_CREATE:      {"memfd_create", memfdCreate},
	unix.SYS_CONNECT:           {"connect", connect},
	unix.SYS_BIND:              {"bind", bind},
	unix.SYS_LISTEN:            {"listen", listen},
	unix.SYS_ACCEPT:            {"accept", accept},
	unix.SYS_ACCEPT4:           {"accept4", accept},
	unix.SYS_SENDTO:            {"sendto", sendto},
	unix.SYS_SENDMSG:           {"sendmsg", sendmsg},
	unix.SYS_SENDMMSG:          {"sendmmsg", sendmsg},
	unix.SYS_DUP:               {"dup", dup},
	unix.SYS_DUP2:              {"dup2", dupOnto(1)},
	unix.SYS_DUP3:              {"dup3", dupOnto(1)},
	unix.SYS_FCNTL:             {"dup", dup},
	unix.SYS_PTRACE:            {"ptrace", ptrace},
	unix.SYS_PROCESS_VM_READV:  {"process_vm_readv", otherProcess},
	unix.SYS_PROCESS_VM_WRITEV: {"process_vm_writev", otherProcess},
	unix.SYS_MOUNT:             {"mount", mount},
	unix.SYS_INIT_MODULE:       {"init_module", forbidden},
	unix.SYS_FINIT_MODULE:      {"init_module", forbidden},
	unix.SYS_BPF:               {"bpf", forbidden},
	unix.SYS_SETUID:            {"setuid", setuid},
}

// fchmodat2 is Linux 6.6's fchmodat with flags.
const fchmodat2 = 452

// conditional are calls that the filter lets wait only with some arguments.
var conditional = []int{unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_FCNTL}

// lifecycle are calls that the table of processes is built from.
var lifecycle = []int{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT, unix.SYS_EXIT_GROUP}

// observed are the calls that always wait for the supervisor.
func observed() []int {
	all := slices.Concat(slices.Collect(maps.Keys(points)), lifecycle)
	return slices.DeleteFunc(all, func(nr int) bool { return slices.Contains(conditional, nr) })
}

func (c *call) int(i int) int { return int(int32(c.n.Args[i])) }

func (c *call) uint(i int) uint32 { return uint32(c.n.Args[i]) }

// path reads a path argument and makes it absolute against its directory
// descriptor (argument dir, -1 for the working directory). Links and dots in it
// are left alone.
func (c *call) path(dir, name int) string {
	return c.absolute(dir, c.text(c.n.Args[name], pathMax))
}

func (c *call) absolute(dir int, raw string) string {
	if path.IsAbs(raw) {
		return raw
	}
	base := c.link("cwd")
	if dir >= 0 && c.int(dir) != unix.AT_FDCWD {
		base = c.fdPath(c.int(dir))
	}
	if raw == "" {
		return base
	}
	return base + "/" + raw
}

func open(dir, name, flags, mode int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		r.Flags = c.uint(flags)
		if r.Flags&unix.O_CREAT != 0 {
			r.Mode = c.uint(mode)
		}
		return c.opened(r, c.path(dir, name))
	}
}

func creat(c *call, r *record.Record) unix.Errno {
	r.Flags, r.Mode = unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, c.uint(1)
	return c.opened(r, c.path(-1, 0))
}

// openat2 reads struct open_how { u64 flags, mode, resolve } (openat2(2)).
func openat2(c *call, r *record.Record) unix.Errno {
	r.Flags, r.Mode = uint32(c.word(c.n.Args[2])), uint32(c.word(c.n.Args[2]+8))
	return c.opened(r, c.path(0, 1))
}

func (c *call) opened(r *record.Record, raw string) unix.Errno {
	if raw == "" || c.quietOpen(r.Flags, raw) {
		r.Kind = ""
		return 0
	}
	c.predictOpen(r, raw)
	return 0
}

func removed(dir, name int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		r.Path = c.predictEntry(r, c.path(dir, name), true)
		return 0
	}
}

func renamed(dir1, name1, dir2, name2 int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		r.Path = c.predictEntry(r, c.path(dir1, name1), true)
		r.Target = c.place(c.path(dir2, name2))
		return 0
	}
}

// linked reports the file as Path and its new name as Target.
func linked(dir1, name1, dir2, name2 int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		f := c.resolver().find(c.path(dir1, name1), false)
		defer f.close()
		r.Path = f.path
		c.fails(r, f.errno)
		r.Target = c.predictEntry(r, c.path(dir2, name2), false)
		return 0
	}
}

// symlinked reports the link as Path and what it points to, as written, as
// Target.
func symlinked(target, dir, name int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		r.Path = c.predictEntry(r, c.path(dir, name), false)
		r.Target = c.text(c.n.Args[target], pathMax)
		return 0
	}
}

// place is an entry's path with the links on the way to it resolved.
func (c *call) place(raw string) string {
	dir, name := path.Split(strings.TrimRight(raw, "/"))
	f := c.resolver().find(dir, true)
	defer f.close()
	if f.errno != 0 {
		return path.Clean(raw)
	}
	return path.Join(f.path, name)
}

func chmod(dir, name, mode int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		f := c.resolver().find(c.path(dir, name), true)
		defer f.close()
		r.Path, r.Mode = f.path, c.uint(mode)
		c.fails(r, f.errno)
		return 0
	}
}

func fchmod(c *call, r *record.Record) unix.Errno {
	r.FD, r.Path, r.Mode = int64(c.int(0)), c.fdPath(c.int(0)), c.uint(1)
	return 0
}

func memfdCreate(c *call, r *record.Record) unix.Errno {
	r.Path, r.Flags, r.FD = "memfd:"+c.text(c.n.Args[0], 250), c.uint(1), -1 // MFD_NAME_MAX_LEN
	return 0
}

func dupOnto(target int) func(*call, *record.Record) unix.Errno {
	return func(c *call, r *record.Record) unix.Errno {
		c.duplicated(r, int64(c.int(target)))
		return 0
	}
}

// dup gets the lowest free descriptor; only a standard one is worth telling.
func dup(c *call, r *record.Record) unix.Errno {
	from := 0
	if c.n.NR == unix.SYS_FCNTL {
		from = c.int(2)
	}
	for fd := from; fd <= 2; fd++ {
		if c.fdPath(fd) == "" {
			c.duplicated(r, int64(fd))
			return 0
		}
	}
	r.Kind = ""
	return 0
}

func (c *call) duplicated(r *record.Record, onto int64) {
	r.FD, r.HasResult, r.Result = onto, true, onto
	r.FDPath = c.fdPath(c.int(0))
	r.Addr = c.socket(c.int(0)).peer
}

func ptrace(c *call, r *record.Record) unix.Errno {
	r.Flags, r.ChildTGID = c.uint(0), int32(c.int(1))
	return 0
}

func otherProcess(c *call, r *record.Record) unix.Errno {
	r.ChildTGID = int32(c.int(0))
	return 0
}

func mount(c *call, r *record.Record) unix.Errno {
	r.Path = path.Clean(c.path(-1, 1))
	return unix.EPERM
}

// forbidden is what no install may do to the machine it really runs on.
func forbidden(*call, *record.Record) unix.Errno { return unix.EPERM }

func setuid(c *call, _ *record.Record) unix.Errno {
	c.p.uid = c.uint(0)
	return 0
}

package sensor

import (
	"net/netip"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

// getter yields one field of an event, false if the event has none.
type getter func(e *event, arg string, index int) (rules.Value, bool)

// getters is indexed by the IDs of rules.SensorFields.
var getters = makeGetters()

func makeGetters() []getter {
	g := map[int]getter{}
	for _, part := range []map[int]getter{eventGetters(), argumentGetters(), processGetters(), ancestorGetters(), descriptorGetters(), contextGetters(), canaryGetters()} {
		for id, f := range part {
			g[id] = f
		}
	}
	out := make([]getter, rules.FalconerLast+1)
	for id, f := range g {
		out[id] = f
	}
	return out
}

// text, number, truth and address adapt a plain function; an empty text is an
// absent field.
func text(f func(e *event) string) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) {
		s := f(e)
		return rules.StringValue(s), s != ""
	}
}

func number(f func(e *event) int64) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) { return rules.NumberValue(f(e)), true }
}

// counted is a number that only an event has which raises it.
func counted(f func(e *event) int64) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) { return rules.NumberValue(f(e)), f(e) > 0 }
}

func truth(f func(e *event) bool) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) { return rules.BoolValue(f(e)), true }
}

func address(f func(e *event) (netip.AddrPort, bool)) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) {
		ap, ok := f(e)
		return rules.AddrValue(ap.Addr()), ok
	}
}

func port(f func(e *event) (netip.AddrPort, bool)) getter {
	return func(e *event, _ string, _ int) (rules.Value, bool) {
		ap, ok := f(e)
		return rules.NumberValue(int64(ap.Port())), ok
	}
}

func eventGetters() map[int]getter {
	kind := text(func(e *event) string { return e.r.Kind })
	return map[int]getter{
		rules.EvtType:     kind,
		rules.SyscallType: kind,
		rules.EvtDir:      text(func(*event) string { return "<" }),
		rules.EvtNum:      number(func(e *event) int64 { return e.num }),
		rules.EvtTime: func(e *event, _ string, _ int) (rules.Value, bool) {
			return rules.TimeValue(e.time()), true
		},
		rules.EvtRawTime:     number(func(e *event) int64 { return e.r.TimeNS }),
		rules.EvtRes:         text((*event).result),
		rules.EvtRawRes:      result,
		rules.EvtFailed:      truth(func(e *event) bool { return e.r.HasResult && e.r.Result < 0 }),
		rules.EvtIsOpenRead:  truth(func(e *event) bool { return e.opened(true, false) }),
		rules.EvtIsOpenWrite: truth(func(e *event) bool { return e.opened(false, true) }),
		rules.EvtIsOpenExec:  truth(func(e *event) bool { return e.created() && e.r.Mode&0o111 != 0 }),
		rules.EvtIsOpenCreate: truth(func(e *event) bool {
			return e.created()
		}),
	}
}

func result(e *event, _ string, _ int) (rules.Value, bool) {
	return rules.NumberValue(e.r.Result), e.r.HasResult
}

func (e *event) created() bool {
	return e.isOpen() && e.r.Result >= 0 && e.r.Flags&unix.O_CREAT != 0
}

// onKinds limits a text to the event types whose argument it is.
func onKinds(f func(e *event) string, kinds ...string) getter {
	return text(func(e *event) string {
		for _, k := range kinds {
			if strings.HasPrefix(e.r.Kind, k) {
				return f(e)
			}
		}
		return ""
	})
}

func argumentGetters() map[int]getter {
	name := func(e *event) string { return e.r.Path }
	raw := func(e *event) string {
		if e.r.Raw != "" {
			return e.r.Raw
		}
		return e.r.Path
	}
	target := func(e *event) string { return e.r.Target }
	fd := func(e *event) string { return strconv.FormatInt(e.r.FD, 10) }
	return map[int]getter{
		rules.EvtArgAddr:     onKinds(func(e *event) string { return strings.TrimPrefix(e.fdName(), "->") }, "connect", "bind", "send"),
		rules.EvtArgTuple:    onKinds((*event).fdName, "connect", "send", "accept"),
		rules.EvtArgFd:       onKinds(fd, "connect", "bind", "listen", "accept", "send", "fchmod", "open", "creat", "memfd_create"),
		rules.EvtArgFilename: onKinds(name, "chmod", "fchmod"),
		rules.EvtArgFlags:    onKinds(func(e *event) string { return openFlags(e.r.Flags) }, "open", "creat"),
		rules.EvtArgLinkpath: onKinds(name, "symlink"),
		rules.EvtArgTarget:   onKinds(target, "symlink"),
		rules.EvtArgMode:     onKinds(func(e *event) string { return modeText(e.r.Mode) }, "chmod", "fchmod"),
		rules.EvtArgName:     onKinds(raw, "open", "creat", "unlinkat", "memfd_create", "access"),
		rules.EvtArgNewpath:  onKinds(target, "rename", "link"),
		rules.EvtArgOldpath:  onKinds(name, "rename", "link"),
		rules.EvtArgPath:     onKinds(name, "unlink", "rmdir"),
		rules.EvtArgNewfd:    onKinds(fd, "dup"),
		rules.EvtArgPid:      onKinds(func(e *event) string { return strconv.Itoa(int(e.r.ChildTGID)) }, "ptrace", "process_vm"),
		rules.EvtArgRequest:  onKinds(func(e *event) string { return ptraceRequest(e.r.Flags) }, "ptrace"),
		rules.EvtArgRes:      text((*event).result),
		rules.EvtArgExe:      onKinds(func(e *event) string { return first(e.argv()) }, "execve"),
		rules.EvtArgArgs:     onKinds(func(e *event) string { return strings.Join(e.argv()[min(1, len(e.argv())):], " ") }, "execve"),
		rules.EvtBuffer:      onKinds(func(e *event) string { return string(e.r.Data) }, "send", "write"),
		rules.EvtRawargInterval: func(e *event, _ string, _ int) (rules.Value, bool) {
			return rules.NumberValue(e.r.IntervalNS), e.r.IntervalNS != 0
		},
	}
}

// argv is of the program that was executed, or that could not be.
func (e *event) argv() []string {
	if len(e.r.Argv) == 0 && e.r.Path != "" {
		return []string{e.r.Path}
	}
	return e.r.Argv
}

func processGetters() map[int]getter {
	return map[int]getter{
		rules.ProcName:            text(func(e *event) string { return e.p.Name }),
		rules.ProcExe:             text(func(e *event) string { return first(e.p.Argv) }),
		rules.ProcExePath:         text(func(e *event) string { return e.p.Exe }),
		rules.ProcCmdline:         text(func(e *event) string { return e.p.CommandLine() }),
		rules.ProcArgs:            text(func(e *event) string { return strings.Join(e.p.Argv[min(1, len(e.p.Argv)):], " ") }),
		rules.ProcCwd:             text(func(e *event) string { return strings.TrimSuffix(e.p.Cwd, "/") + "/" }),
		rules.ProcPid:             number(func(e *event) int64 { return int64(e.p.PID) }),
		rules.ProcVpid:            number(func(e *event) int64 { return int64(e.p.PID) }),
		rules.ThreadTid:           number(func(e *event) int64 { return int64(e.r.TID) }),
		rules.ProcIsExeUpperLayer: truth(func(e *event) bool { return e.p.Upper }),
		rules.ProcIsExeFromMemfd:  truth(func(e *event) bool { return e.p.Memfd }),
		rules.ProcEnv: func(e *event, name string, _ int) (rules.Value, bool) {
			for _, entry := range e.p.Env {
				if k, v, ok := strings.Cut(entry, "="); ok && k == name {
					return rules.StringValue(v), true
				}
			}
			return rules.Value{}, false
		},
	}
}

func ancestorGetters() map[int]getter {
	of := func(f func(p *Process) string) getter {
		return func(e *event, _ string, index int) (rules.Value, bool) {
			p := e.ancestor(index)
			if p == nil {
				return rules.Value{}, false
			}
			s := f(p)
			return rules.StringValue(s), s != ""
		}
	}
	parent := func(g getter) getter {
		return func(e *event, arg string, _ int) (rules.Value, bool) { return g(e, arg, 1) }
	}
	pid := func(e *event, _ string, index int) (rules.Value, bool) {
		p := e.ancestor(index)
		if p == nil {
			return rules.Value{}, false
		}
		return rules.NumberValue(int64(p.PID)), true
	}
	name := of(func(p *Process) string { return p.Name })
	exe := of(func(p *Process) string { return first(p.Argv) })
	exepath := of(func(p *Process) string { return p.Exe })
	cmdline := of((*Process).CommandLine)
	return map[int]getter{
		rules.ProcAname: name, rules.ProcAexe: exe, rules.ProcAexePath: exepath, rules.ProcAcmdline: cmdline, rules.ProcApid: pid,
		rules.ProcPname: parent(name), rules.ProcPexe: parent(exe), rules.ProcPexePath: parent(exepath),
		rules.ProcPcmdline: parent(cmdline), rules.ProcPpid: parent(pid),
	}
}

func descriptorGetters() map[int]getter {
	any, remote := (*event).server, (*event).remote
	local := func(e *event) (netip.AddrPort, bool) {
		if !e.local() {
			return netip.AddrPort{}, false
		}
		return e.r.AddrPort()
	}
	return map[int]getter{
		rules.FdNum:       number(func(e *event) int64 { return e.r.FD }),
		rules.FdType:      text(func(e *event) string { return fdTypes[e.fdChar()] }),
		rules.FdTypeChar:  text((*event).fdChar),
		rules.FdName:      text((*event).fdName),
		rules.FdL4proto:   text(func(e *event) string { return e.r.Proto }),
		rules.FdDirectory: text(func(e *event) string { return ifFile(e, path.Dir) }),
		rules.FdFilename:  text(func(e *event) string { return ifFile(e, base) }),
		rules.FdSip:       address(any), rules.FdSnet: address(any), rules.FdSport: port(any),
		rules.FdRip: address(remote), rules.FdRnet: address(remote), rules.FdRport: port(remote),
		rules.FdLip: address(local), rules.FdLnet: address(local), rules.FdLport: port(local),
		rules.FdSipName:    text((*event).host),
		rules.FsPathName:   text(func(e *event) string { return onSuccess(e, e.r.Path) }),
		rules.FsPathSource: text(func(e *event) string { return e.pair(e.r.Path) }),
		rules.FsPathTarget: text(func(e *event) string { return e.pair(e.linked()) }),
	}
}

func contextGetters() map[int]getter {
	placed := func(f func(e *event) string) getter {
		return text(func(e *event) string {
			if !e.p.placed {
				return ""
			}
			return f(e)
		})
	}
	return map[int]getter{
		rules.UserUID:             number(func(e *event) int64 { return int64(e.r.UID) }),
		rules.GroupGID:            number(func(e *event) int64 { return int64(e.r.GID) }),
		rules.ContainerID:         text(func(e *event) string { return e.c.Container }),
		rules.ContainerName:       text(func(e *event) string { return e.c.Container }),
		rules.FalconerScanID:      text(func(e *event) string { return string(e.c.ScanID) }),
		rules.FalconerPackage:     placed(func(e *event) string { return e.p.place.Package.PURL }),
		rules.FalconerPath:        placed(func(e *event) string { return e.p.place.Package.Path }),
		rules.FalconerScript:      placed(func(e *event) string { return e.p.place.Script }),
		rules.FalconerPhase:       text(func(e *event) string { return e.p.phase() }),
		rules.FalconerInLifecycle: truth(func(e *event) bool { return e.p.InLifecycle() }),
		rules.FalconerDetached:    truth(func(e *event) bool { return e.p.Detached() }),
		rules.FalconerHookOnly:    truth(func(e *event) bool { return e.p.placed && e.c.HookOnly[e.p.place.Package.Path] }),
		rules.FalconerOwn:         text(func(e *event) string { return e.own }),
		rules.FalconerWriter:      text(func(e *event) string { return e.writer }),
		rules.FalconerQuery:       text(func(e *event) string { return e.query }),
		rules.FalconerListed:      counted(func(e *event) int64 { return e.listed }),
		rules.FalconerRemoved:     counted(func(e *event) int64 { return e.removed }),
		rules.FalconerAsked:       counted(func(e *event) int64 { return e.asked }),
		rules.FalconerStdin:       text(func(e *event) string { return first(e.p.Stdio) }),
	}
}

// pair returns one of the two paths of a rename or link: of a link, the source
// is the new link and the target what it leads to, as Falco has it.
func (e *event) pair(p string) string {
	switch e.r.Kind {
	case "link", "linkat":
		if p == e.r.Path {
			return onSuccess(e, e.r.Target)
		}
		return onSuccess(e, e.r.Path)
	case "rename", "renameat", "renameat2", "symlink", "symlinkat":
		return onSuccess(e, p)
	}
	return ""
}

// linked is the second path; what a symlink says is taken from where it stands.
func (e *event) linked() string {
	if strings.HasPrefix(e.r.Kind, "symlink") && e.r.Target != "" && !path.IsAbs(e.r.Target) {
		return path.Join(path.Dir(e.r.Path), e.r.Target)
	}
	return e.r.Target
}

func onSuccess(e *event, s string) string {
	if e.r.HasResult && e.r.Result < 0 {
		return ""
	}
	return s
}

var fdTypes = map[string]string{"f": "file", "d": "directory", "4": "ipv4", "6": "ipv6", "u": "unix", "m": "memfd"}

// fdChar is Falco's fd.typechar, "" where the event has no descriptor.
func (e *event) fdChar() string {
	switch {
	case e.isOpen() && e.r.Flags&unix.O_DIRECTORY != 0:
		return "d"
	case e.isOpen():
		return "f"
	case e.r.Kind == "memfd_create":
		return "m"
	case len(e.r.Addr) >= 2:
		switch e.r.Addr[0] {
		case unix.AF_INET:
			return "4"
		case unix.AF_INET6:
			return "6"
		case unix.AF_UNIX:
			return "u"
		}
	}
	return ""
}

func ifFile(e *event, f func(string) string) string {
	if !e.isOpen() || e.r.Path == "" {
		return ""
	}
	return f(e.r.Path)
}

func first(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

// Supplies reports whether the sensor has values for a field of
// rules.SensorFields. A rule on a field without values can't match.
func Supplies(id int) bool { return id >= 0 && id < len(getters) && getters[id] != nil }

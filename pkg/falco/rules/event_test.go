package rules_test

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

// process is one process of a synthetic tree.
type process struct {
	name, exe, args string
	env             map[string]string
	cwd             string
	upper, memfd    bool
	parent          *process
}

func (p *process) cmdline() string { return strings.TrimSpace(p.name + " " + p.args) }

// child is a process started by p, in the package's directory.
func (p *process) child(name, args string) *process {
	return &process{name: name, exe: "/usr/bin/" + name, args: args, cwd: "/builds/project/node_modules/evil/", parent: p}
}

// event is a synthetic rules.Event: fields by name, as the rules write them.
type event struct {
	typ    string
	proc   *process
	fields map[string]any
	names  map[int]string
}

var _ rules.Event = (*event)(nil)

// newEvent makes an event of proc; fields are strings, ints, bools or addresses.
func newEvent(typ string, proc *process, fields map[string]any) *event {
	e := &event{typ: typ, proc: proc, fields: fields, names: map[int]string{}}
	for _, f := range rules.SensorFields().All() {
		e.names[f.ID] = f.Name
	}
	return e
}

func (e *event) Type() string { return e.typ }

func (e *event) Ancestors() int {
	n := 0
	for p := e.proc; p != nil && p.parent != nil; p = p.parent {
		n++
	}
	return n
}

func (e *event) ancestor(n int) *process {
	p := e.proc
	for ; n > 0 && p != nil; n-- {
		p = p.parent
	}
	return p
}

func (e *event) Field(id int, arg string, index int) (rules.Value, bool) {
	name := e.names[id]
	if v, ok := e.fields[name]; ok {
		return value(v), true
	}
	switch name {
	case "evt.type", "syscall.type":
		return rules.StringValue(e.typ), true
	case "proc.pname":
		name, index = "proc.aname", 1
	case "proc.pcmdline":
		name, index = "proc.acmdline", 1
	}
	p := e.ancestor(index)
	if p == nil {
		return rules.Value{}, false
	}
	switch name {
	case "proc.name", "proc.aname":
		return rules.StringValue(p.name), true
	case "proc.exepath", "proc.aexepath":
		return rules.StringValue(p.exe), true
	case "proc.args":
		return rules.StringValue(p.args), p.args != ""
	case "proc.cmdline", "proc.acmdline":
		return rules.StringValue(p.cmdline()), true
	case "proc.cwd":
		return rules.StringValue(p.cwd), true
	case "proc.is_exe_upper_layer":
		return rules.BoolValue(p.upper), true
	case "proc.is_exe_from_memfd":
		return rules.BoolValue(p.memfd), true
	case "proc.env":
		v, ok := p.env[arg]
		return rules.StringValue(v), ok
	}
	return rules.Value{}, false
}

func value(v any) rules.Value {
	switch v := v.(type) {
	case string:
		return rules.StringValue(v)
	case int:
		return rules.NumberValue(int64(v))
	case bool:
		return rules.BoolValue(v)
	case netip.Addr:
		return rules.AddrValue(v)
	}
	panic(fmt.Sprintf("no value for %T", v))
}

// opening is an open of a file; failed if errno is not "".
func opening(p *process, file, flags, errno string) *event {
	return newEvent("openat", p, map[string]any{
		"fd.name": file, "fd.filename": path.Base(file), "fd.directory": path.Dir(file), "fd.typechar": "f",
		"evt.arg.flags": flags, "evt.arg.name": file,
		"evt.is_open_read":  errno == "" && !strings.Contains(flags, "O_WRONLY"),
		"evt.is_open_write": errno == "" && !strings.Contains(flags, "O_RDONLY"),
		"evt.failed":        errno != "", "evt.res": errno,
	})
}

func reading(p *process, file string) *event { return opening(p, file, "O_RDONLY|O_CLOEXEC", "") }
func writing(p *process, file string) *event {
	return opening(p, file, "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC", "")
}

func executing(p *process) *event {
	return newEvent("execve", p, map[string]any{"evt.failed": false, "evt.res": "SUCCESS"})
}

// twoPaths is a rename or link: source and target as Falco's fs.path has them.
func twoPaths(typ string, p *process, source, target string) *event {
	return newEvent(typ, p, map[string]any{"fs.path.source": source, "fs.path.target": target, "evt.failed": false})
}

func onPath(typ string, p *process, file string, more ...string) *event {
	f := map[string]any{"fs.path.name": file, "evt.failed": false}
	for i := 0; i+1 < len(more); i += 2 {
		f[more[i]] = more[i+1]
	}
	return newEvent(typ, p, f)
}

// network is a call on a socket whose server side is addr.
func network(typ string, p *process, addr, proto string) *event {
	ap := netip.MustParseAddrPort(addr)
	char, kind := "4", "ipv4"
	if ap.Addr().Is6() {
		char, kind = "6", "ipv6"
	}
	return newEvent(typ, p, map[string]any{
		"fd.typechar": char, "fd.type": kind, "fd.name": "->" + addr, "fd.l4proto": proto,
		"fd.sip": ap.Addr(), "fd.snet": ap.Addr(), "fd.sport": int(ap.Port()),
	})
}

func duplicating(p *process, kind string, onto int) *event {
	return newEvent("dup2", p, map[string]any{"fd.type": kind, "evt.rawres": onto, "evt.failed": false})
}

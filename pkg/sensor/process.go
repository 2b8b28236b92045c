package sensor

import (
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// maxImages bounds the earlier programs remembered of one process.
const maxImages = 4

// maxCommandLine bounds a command line, in bytes.
const maxCommandLine = 4096

// Process is one process of the sandbox.
type Process struct {
	PID     int32
	Parent  *Process // who forked it, also after that one has gone
	Name    string   // as Falco's proc.name: the program's base name, or what it renamed itself to
	Exe     string
	Argv    []string
	Env     []string
	Cwd     string
	Upper   bool // its binary was written in this sandbox
	Memfd   bool // its binary lives in memory only
	Stdio   []string
	Exited  bool
	program string   // its name when it was executed
	images  []string // command lines before the last exec
	first   bool     // the sandbox's first process
	init    bool     // the same, and it is not the package manager
	manager bool     // the package manager itself, not yet a script of some package
	placed  bool
	place   ecosystem.Place
	claimed bool     // the place is what code in the process says, see ecosystem.Mark
	loading *loading // a step of the recipe after the install; nil for anything else
}

// CommandLine is the program's name and its arguments, as in Falco's
// proc.cmdline: what argv[0] claims does not show.
func (p *Process) CommandLine() string {
	if len(p.Argv) == 0 {
		return ""
	}
	if p.loading != nil {
		return p.stepName()
	}
	line := p.program
	if line == "" {
		line = path.Base(p.Argv[0])
	}
	if len(p.Argv) > 1 {
		line += " " + strings.Join(p.Argv[1:], " ")
	}
	return line[:min(len(line), maxCommandLine)]
}

// InLifecycle reports whether the process descends from something that the
// package manager started on a package's behalf.
func (p *Process) InLifecycle() bool { return !p.manager }

// Detached reports whether the process that started it has gone.
func (p *Process) Detached() bool {
	return p.InLifecycle() && p.Parent != nil && p.Parent.Exited
}

// chain lists command lines, outermost first, with the programs that a process
// was before it executed another.
func (p *Process) chain() []string {
	var up []*Process
	for q := p; q != nil && !q.init && len(up) < maxAncestors; q = q.Parent {
		up = append(up, q)
	}
	var lines []string
	for i := len(up) - 1; i >= 0; i-- {
		q := up[i]
		if q.manager && q.Parent != nil && q.Parent.init && len(q.images) > 0 {
			words := strings.Fields(q.images[len(q.images)-1]) // its switches are ours, and many
			lines = append(lines, strings.Join(words[:min(2, len(words))], " "))
			continue
		}
		lines = append(lines, q.images...)
		lines = append(lines, q.CommandLine())
	}
	return compact(lines)
}

// compact drops empty lines and repetitions: a fork without an exec is the same
// command line twice.
func compact(lines []string) []string {
	out := lines[:0]
	for _, l := range lines {
		if l != "" && (len(out) == 0 || out[len(out)-1] != l) {
			out = append(out, l)
		}
	}
	return out
}

const maxAncestors = 64

// table is the processes of one sandbox by process ID.
type table struct {
	c        Config
	byPID    map[int32]*Process
	root     *Process // the package manager, once an init has started it
	steps    []ecosystem.Step
	loads    []*Process // processes that are steps
	overflow int64
}

func newTable(c Config) *table {
	t := &table{c: c, byPID: map[int32]*Process{}}
	if c.Manager != nil && c.Setting.Import {
		t.steps = c.Manager.Recipe(c.Project, c.Setting).Steps
	}
	return t
}

// apply brings the table up to date with r and returns the acting process.
func (t *table) apply(r *record.Record) *Process {
	p := t.get(r)
	if r.TID == r.TGID && r.Comm != "" {
		p.Name = r.Comm
	}
	switch r.Kind {
	case record.KindStart:
		p.Argv, p.Cwd, p.manager, p.first, p.init = r.Argv, r.Cwd, true, true, t.c.Init
		if len(r.Argv) > 0 {
			p.Name = path.Base(r.Argv[0])
		}
	case record.KindClone:
		if r.ChildTGID != r.TGID && !(r.HasResult && r.Result < 0) {
			t.add(p.fork(r.ChildTGID))
		}
	case record.KindExec:
		if !r.HasResult || r.Result >= 0 { // else the process stays what it was
			t.exec(p, r)
		}
	case "open", "openat":
		if p.loading != nil {
			t.mark(p, r.Path)
		}
	}
	return p
}

// get returns the record's process; one that was never seen to start (its clone
// was lost) gets its parent from the record.
func (t *table) get(r *record.Record) *Process {
	if p := t.byPID[r.TGID]; p != nil {
		return p
	}
	p := &Process{PID: r.TGID, Name: r.Comm, Parent: t.byPID[r.PTGID], manager: len(t.byPID) == 0}
	t.add(p)
	return p
}

func (t *table) add(p *Process) {
	if len(t.byPID) >= MaxProcesses {
		t.overflow++
		return
	}
	t.byPID[p.PID] = p
}

// exited forgets a process; its children keep it as their ancestor.
func (t *table) exited(p *Process) {
	p.Exited = true
	if t.byPID[p.PID] == p {
		delete(t.byPID, p.PID)
	}
}

// running lists the command lines of the processes that have not ended.
func (t *table) running() []string {
	var lines []string
	for _, p := range t.byPID {
		lines = append(lines, p.CommandLine())
	}
	slices.Sort(lines)
	return lines
}

// fork is the child at its birth: its parent's image, and its parent's place.
func (p *Process) fork(pid int32) *Process {
	return &Process{PID: pid, Parent: p, Name: p.Name, program: p.program, Exe: p.Exe, Argv: p.Argv, Env: p.Env, Cwd: p.Cwd,
		Upper: p.Upper, Memfd: p.Memfd, manager: p.manager, placed: p.placed, place: p.place, claimed: p.claimed}
}

// exec makes p another program. What the package manager itself starts is
// offered to the ecosystem for a place; everything below inherits it.
func (t *table) exec(p *Process, r *record.Record) {
	forked := p.Parent != nil && p.CommandLine() == p.Parent.CommandLine()
	if line := p.CommandLine(); line != "" && !forked && len(p.images) < maxImages {
		p.images = append(p.images, line)
	}
	p.Exe, p.Argv, p.Env, p.Cwd = r.Exe, r.Argv, r.Env, r.Cwd
	p.Upper, p.Memfd, p.Stdio = r.ExeUpper, r.ExeMemfd, r.Stdio
	p.Name = r.Comm
	if p.Name == "" {
		p.Name = path.Base(r.Exe)
	}
	p.program, p.loading = p.Name, nil
	if !p.manager || p.Parent == nil {
		return
	}
	if p.Parent.init && t.root == nil {
		t.root = p // init starts the package manager, and nothing else
	}
	if p == t.root || t.begin(p) { // through env and its interpreter; beside it
		return
	}
	e := ecosystem.Exec{Path: r.Exe, Argv: r.Argv, Env: r.Env, Cwd: r.Cwd}
	if place, ok := t.c.Manager.Place(t.c.Project, t.c.Setting, e); ok {
		p.place, p.placed, p.manager = place, true, false
		return
	}
	// The manager may run itself again (npm does, for git dependencies);
	// anything else it starts is no longer the manager.
	p.manager = p.Parent != nil && p.Exe == p.Parent.Exe && len(p.Argv) > 1 && len(p.Parent.Argv) > 1 && p.Argv[1] == p.Parent.Argv[1]
}

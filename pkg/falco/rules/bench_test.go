package rules

import (
	"net/netip"
	"testing"

	"github.com/falconer-sec/falconer/config"
)

// benchEvent answers from an array, as the sensor does from a record.
type benchEvent struct {
	typ       string
	values    [FalconerDetached + 1]Value
	set       [FalconerDetached + 1]bool
	ancestors []string // command lines' names, parent first
}

func (e *benchEvent) Type() string   { return e.typ }
func (e *benchEvent) Ancestors() int { return len(e.ancestors) }

func (e *benchEvent) Field(id int, _ string, index int) (Value, bool) {
	switch id {
	case ProcAname, ProcAcmdline, ProcAexePath:
		if index < 1 || index > len(e.ancestors) {
			return Value{}, false
		}
		return StringValue(e.ancestors[index-1]), true
	}
	return e.values[id], e.set[id]
}

func (e *benchEvent) with(id int, v Value) *benchEvent {
	e.values[id], e.set[id] = v, true
	return e
}

func newBenchEvent(typ string) *benchEvent {
	e := &benchEvent{typ: typ, ancestors: []string{"sh", "make", "sh", "node", "sh", "node", "runner"}}
	e.with(ProcName, StringValue("cc1plus")).with(ProcExePath, StringValue("/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus"))
	e.with(ProcArgs, StringValue("-quiet -imultiarch x86_64-linux-gnu -D_GNU_SOURCE x.cc -o /tmp/ccX.s"))
	e.with(ProcCmdline, StringValue("cc1plus -quiet -imultiarch x86_64-linux-gnu -D_GNU_SOURCE x.cc -o /tmp/ccX.s"))
	e.with(ProcPname, StringValue("sh")).with(ProcPcmdline, StringValue("sh -c g++ x.cc")).with(ProcCwd, StringValue("/builds/project/node_modules/x/build/"))
	e.with(EvtFailed, BoolValue(false)).with(EvtRawRes, NumberValue(5)).with(EvtType, StringValue(typ))
	e.with(ProcIsExeUpperLayer, BoolValue(false)).with(ProcIsExeFromMemfd, BoolValue(false))
	return e
}

// benchEvents is what a native build does most.
func benchEvents() map[string]*benchEvent {
	open := newBenchEvent("openat").with(EvtIsOpenRead, BoolValue(true)).with(EvtIsOpenWrite, BoolValue(false)).
		with(EvtArgFlags, StringValue("O_RDONLY|O_CLOEXEC")).with(FdTypeChar, StringValue("f")).
		with(FdName, StringValue("/usr/include/x86_64-linux-gnu/c++/12/bits/c++config.h")).
		with(FdDirectory, StringValue("/usr/include/x86_64-linux-gnu/c++/12/bits")).with(FdFilename, StringValue("c++config.h"))
	connect := newBenchEvent("connect").with(FdTypeChar, StringValue("4")).with(FdSport, NumberValue(4873)).
		with(FdSip, AddrValue(netip.MustParseAddr("127.0.0.1"))).with(FdSnet, AddrValue(netip.MustParseAddr("127.0.0.1")))
	unlink := newBenchEvent("unlink").with(FsPathName, StringValue("/builds/project/node_modules/x/build/x.o"))
	return map[string]*benchEvent{"openat": open, "execve": newBenchEvent("execve"), "connect": connect, "unlink": unlink, "clone": newBenchEvent("clone")}
}

func benchSet(b *testing.B) *Set {
	data, err := config.Falco.ReadFile("falco/falconer_rules.yaml")
	if err != nil {
		b.Fatal(err)
	}
	set, err := Load(SensorFields(), File{Name: "falconer_rules.yaml", Data: data})
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// naive evaluates a condition as written, without index or memory.
func naive(e *expr, ev Event) bool {
	switch e.kind {
	case exprTrue:
		return true
	case exprFalse:
		return false
	case exprNot:
		return !naive(e.kids[0], ev)
	case exprCheck:
		return e.eval(ev)
	}
	for _, k := range e.kids {
		if naive(k, ev) != (e.kind == exprAnd) {
			return e.kind == exprOr
		}
	}
	return e.kind == exprAnd
}

// BenchmarkMatch compares the shipped rules through Match with asking every
// rule about every event.
func BenchmarkMatch(b *testing.B) {
	set := benchSet(b)
	for name, ev := range benchEvents() {
		b.Run(name+"/indexed", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Match(ev)
			}
		})
		b.Run(name+"/all", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range set.rules {
					naive(r.cond, ev)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		benchSet(b)
	}
}

// Index, specialisation and memory must not change an answer.
func TestIndexedAndNaiveAgree(t *testing.T) {
	data, err := config.Falco.ReadFile("falco/falconer_rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(SensorFields(), File{Name: "falconer_rules.yaml", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range append(SensorFields().EventTypes(), "undeclared") {
		for _, base := range benchEvents() {
			for _, file := range []string{"/root/.ssh/id_rsa", "/tmp/x", "/etc/cron.d/x", ""} {
				ev := *base
				ev.typ = typ
				ev.with(FdName, StringValue(file)).with(FsPathName, StringValue(file)).with(FsPathSource, StringValue(file)).with(FsPathTarget, StringValue(file))
				var want, got int
				for _, r := range set.rules {
					if naive(r.cond, &ev) {
						want++
					}
				}
				if got = len(set.Match(&ev)); got != want {
					t.Errorf("%s %s: %d matches, %d without the index", typ, file, got, want)
				}
			}
		}
	}
}

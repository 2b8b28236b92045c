package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

func file(name, data string) rules.File { return rules.File{Name: name, Data: []byte(data)} }

const base = `
- required_engine_version: 0.46.0
- list: shells
  items: [sh, bash, '"odd name"']
- list: all_shells
  items: [shells, zsh]
- macro: opens
  condition: (evt.type in (open, openat))
- rule: Shell reads
  desc: a shell reads a file
  condition: opens and proc.name in (all_shells)
  exceptions:
    - name: by_file
      fields: fd.name
      values: [/etc/passwd, /etc/group]
    - name: by_both
      fields: [proc.name, fd.name]
      comps: [in, startswith]
      values:
        - [[sh, bash], /usr/]
        - [shells, /lib/]
    - name: unused
      fields: [proc.name, proc.pname]
  output: "Shell reads (file=%fd.name by=%proc.name chain=%proc.aname p2=%proc.aname[1] up=%toupper(proc.name) num=%evt.num time=%evt.time no=%evt.arg.target ip=%fd.sip)."
  priority: warning
  tags: [a, b]
`

func load(t *testing.T, files ...rules.File) *rules.Set {
	t.Helper()
	set, err := rules.Load(rules.SensorFields(), files...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// fires reports whether the only rule matches an open of file by a process.
func fires(set *rules.Set, name, file string) bool {
	p := &process{name: name, parent: &process{name: "npm", parent: &process{name: "init"}}}
	return len(set.Match(reading(p, file))) == 1
}

func TestListsMacrosAndExceptions(t *testing.T) {
	set := load(t, file("a.yaml", base))
	for _, tt := range []struct {
		proc, file string
		want       bool
	}{
		{"sh", "/x", true}, {"zsh", "/x", true}, {"odd name", "/x", true}, {"node", "/x", false}, {"shells", "/x", false},
		{"sh", "/etc/passwd", false}, {"sh", "/usr/x", false}, {"zsh", "/usr/x", true}, {"odd name", "/lib/x", false}, {"zsh", "/lib/x", true},
	} {
		if got := fires(set, tt.proc, tt.file); got != tt.want {
			t.Errorf("%s opens %s: got %t", tt.proc, tt.file, got)
		}
	}
}

func TestOverrides(t *testing.T) {
	local := file("b.yaml", `
- list: shells
  items: [fish]
  override: {items: append}
- macro: opens
  condition: or evt.type = openat2
  append: true
- rule: Shell reads
  condition: and not fd.name startswith /proc
  tags: [c, a]
  priority: CRITICAL
  output: more=%proc.pid
  exceptions:
    - name: by_file
      values: [/etc/hosts]
  override: {condition: append, tags: append, priority: replace, output: append, exceptions: append}
`)
	set := load(t, file("a.yaml", base), local)
	r := set.Rules()[0]
	if r.Priority != finding.Critical {
		t.Errorf("priority %s", r.Priority)
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, r.Tags); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"open", "openat", "openat2"}, r.EventTypes); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		proc, file string
		want       bool
	}{{"fish", "/x", true}, {"sh", "/proc/1/x", false}, {"sh", "/etc/hosts", false}, {"sh", "/etc/passwd", false}} {
		if got := fires(set, tt.proc, tt.file); got != tt.want {
			t.Errorf("%s opens %s: got %t", tt.proc, tt.file, got)
		}
	}
	off := load(t, file("a.yaml", base), file("off.yaml", "- rule: Shell reads\n  enabled: false\n"))
	if len(off.Rules()) != 0 {
		t.Error("a disabled rule is listed")
	}
}

func TestOutput(t *testing.T) {
	set := load(t, file("a.yaml", base))
	p := &process{name: "sh", parent: &process{name: "npm", parent: &process{name: "init"}}}
	ev := reading(p, "/x")
	ev.fields["evt.num"] = 7
	m := set.Match(ev)
	if len(m) != 1 {
		t.Fatalf("%d matches", len(m))
	}
	const want = "Shell reads (file=/x by=sh chain=npm init p2=npm up=SH num=7 time=<NA> no=<NA> ip=<NA>)."
	if d := cmp.Diff(want, m[0].Output()); d != "" {
		t.Error(d)
	}
	fields := map[string]any{"fd.name": "/x", "proc.name": "sh", "proc.aname": "npm init", "proc.aname[1]": "npm",
		"toupper(proc.name)": "SH", "evt.num": int64(7), "evt.time": nil, "evt.arg.target": nil, "fd.sip": nil}
	if d := cmp.Diff(fields, m[0].Fields()); d != "" {
		t.Error(d)
	}
}

// A value is data: it is not expanded again, and a huge one is cut.
func TestOutputOfHostileValues(t *testing.T) {
	set := load(t, file("a.yaml", base))
	p := &process{name: "sh", parent: &process{name: "npm"}}
	out := set.Match(reading(p, "/%proc.name%s\n"+strings.Repeat("x", 100_000)))[0].Output()
	if !strings.Contains(out, "file=/%proc.name%s\nxxx") || !strings.Contains(out, "xxx[...] by=sh") || len(out) > rules.MaxValueBytes+200 {
		t.Errorf("%d bytes: %.80q", len(out), out)
	}
}

func TestFileRefusals(t *testing.T) {
	const rule = "- rule: r\n  desc: d\n  condition: proc.name = x\n  output: o\n  priority: DEBUG\n"
	for _, tt := range []struct{ name, data, want string }{
		{"not YAML", "- [", "t.yaml:1:1: not YAML"},
		{"mapping", "a: b", "t.yaml:1:1: a rules file is a sequence"},
		{"unknown item", "- thing: x", "t.yaml:1:3: unknown item"},
		{"unknown key", rule + "  conditon: x", `t.yaml:6:13: unknown key "conditon" in a rule`},
		{"key twice", rule + "  desc: again", `stands twice`},
		{"alias", "- list: a\n  items: &x [b]\n- list: c\n  items: *x", "t.yaml:4:10: YAML aliases are not supported"},
		{"newer engine", "- required_engine_version: 0.99.0", "t.yaml:1:28: the rules need engine 0.99.0"},
		{"odd engine", "- required_engine_version: new", "neither a number nor x.y.z"},
		{"missing key", "- rule: r\n  desc: d\n  condition: proc.name = x\n  output: o", `rule "r" lacks the key "priority"`},
		{"bad priority", strings.ReplaceAll(rule, "DEBUG", "LOUD"), "t.yaml:5:13: unknown priority \"LOUD\""},
		{"duplicate rule", rule + rule, "t.yaml:6:3: rule \"r\" is already defined at t.yaml:1:3; change it with override"},
		{"duplicate list", "- list: a\n  items: []\n- list: a\n  items: []", `list "a" is already defined`},
		{"override of nothing", rule + "  override: {condition: append}", "has no entry under override"},
		{"append to nothing", "- rule: r\n  condition: x\n  override: {condition: append}", "which is not defined before"},
		{"override twice", rule + "  append: true\n  override: {condition: append}", "can't be used together"},
		{"override priority by append", rule + "- rule: r\n  priority: DEBUG\n  override: {priority: append}", `key "priority" can't be overridden by "append"`},
		{"other source", rule + "  source: k8s_audit", `source "k8s_audit" is not supplied`},
		{"flag", rule + "  enabled: maybe", "enabled must be true or false"},
		{"tags", rule + "  tags: x", "tags must be a sequence"},
		{"items", "- list: a\n  items: [[x]]", "items must hold plain values"},
		{"item to quote", "- list: a\n  items: ['a=b']", "needs quotes inside its YAML quotes"},
		{"list name", "- list: 'a b'\n  items: []", "contains blanks"},
		{"macro name", "- macro: a.b\n  condition: x", "is not letters, digits"},
		{"output field", strings.ReplaceAll(rule, "output: o", "output: o %proc.nam"), "t.yaml:4:14: %proc.nam is not a field"},
		{"output width", strings.ReplaceAll(rule, "output: o", "output: o %9proc.name"), "field widths"},
		{"output argument", strings.ReplaceAll(rule, "output: o", "output: o %proc.env"), `needs an argument`},
		{"exception tuple", rule + "  exceptions:\n    - name: e\n      fields: [proc.name, fd.name]\n      values: [[a]]", "wants 2 values"},
		{"exception comps", rule + "  exceptions:\n    - name: e\n      fields: [proc.name, fd.name]\n      comps: [in]", "comps has 1 operators for 2 fields"},
		{"exception operator", rule + "  exceptions:\n    - name: e\n      fields: proc.name\n      comps: startswith\n      values: [a]", "can't be used here"},
		{"exception field", rule + "  exceptions:\n    - name: e\n      fields: proc.nam\n      values: [a]", `t.yaml:8:15: unknown field "proc.nam"`},
		{"exception twice", rule + "  exceptions:\n    - {name: e, fields: proc.name}\n    - {name: e, fields: proc.name}", "only values can be appended"},
		{"unused macro with a mistake", rule + "- macro: m\n  condition: proc.name =", "the condition ends"},
		{"large", rule + "#" + strings.Repeat("x", rules.MaxFileBytes), "file is larger than"},
	} {
		_, err := rules.Load(rules.SensorFields(), file("t.yaml", tt.data))
		if err == nil {
			t.Errorf("%s: loaded", tt.name)
			continue
		}
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: kind %s", tt.name, fault.KindOf(err))
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

func TestAllErrorsAreReported(t *testing.T) {
	_, err := rules.Load(rules.SensorFields(), file("t.yaml", `
- macro: m
  condition: proc.nope = x
- rule: a
  desc: d
  condition: m and fd.nope = x
  output: o
  priority: DEBUG
- rule: b
  desc: d
  condition: m
  output: "%k.nope"
  priority: LOUD
`))
	var one *rules.Error
	if !errors.As(err, &one) {
		t.Fatalf("no *Error in %v", err)
	}
	for _, want := range []string{"t.yaml:3:14", "t.yaml:6:20", "t.yaml:13:13"} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s should stand once in:\n%v", want, err)
		}
	}
}

func TestSkipIfUnknownFilterOnlyForgivesTheUnknown(t *testing.T) {
	const rule = "- rule: r\n  desc: d\n  condition: proc.nope = x and %s\n  output: o\n  priority: DEBUG\n  skip-if-unknown-filter: true\n"
	set := load(t, file("t.yaml", strings.ReplaceAll(rule, "%s", "proc.name = x")))
	if len(set.Rules()) != 0 || len(set.Notes()) != 1 || !strings.Contains(set.Notes()[0].Text, `unknown field "proc.nope"`) {
		t.Errorf("rules %v, notes %v", set.Rules(), set.Notes())
	}
	if _, err := rules.Load(rules.SensorFields(), file("t.yaml", strings.ReplaceAll(rule, "%s", "fd.num = x"))); err == nil {
		t.Error("a real mistake was skipped")
	}
}

func TestNotes(t *testing.T) {
	set := load(t, file("t.yaml", `
- list: unused
  items: [a]
- macro: idle
  condition: proc.name = x
- rule: r
  desc: d
  condition: proc.name = x or evt.type in (open, mmap)
  output: o
  priority: DEBUG
`))
	var all strings.Builder
	for _, n := range set.Notes() {
		all.WriteString(n.String() + "\n")
	}
	for _, want := range []string{`list "unused" is not used`, `macro "idle" is not used`, `evt.type "mmap" is not emitted`, `matches every evt.type`} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no note %q in:\n%s", want, all.String())
		}
	}
}

func TestVersionFollowsMeaning(t *testing.T) {
	v := load(t, file("a.yaml", base)).Version()
	if len(v) != 16 {
		t.Errorf("version %q", v)
	}
	same := strings.ReplaceAll(base, "opens and proc.name in (all_shells)", "evt.type in (openat, open) and\n     (proc.name in (zsh, shells)) # x")
	same = strings.ReplaceAll(same, " # x", "")
	if got := load(t, file("other.yaml", "# comment\n"+same)).Version(); got != v {
		t.Errorf("the version changed with layout: %s, %s", v, got)
	}
	for old, new := range map[string]string{"[sh, bash,": "[sh, ash,", "priority: warning": "priority: error", "file=%fd.name": "f=%fd.name",
		"tags: [a, b]": "tags: [a]", "/etc/group": "/etc/hosts", "rule: Shell reads": "rule: Shells read"} {
		changed := strings.Replace(base, old, new, 1)
		if got := load(t, file("a.yaml", changed)).Version(); changed == base || got == v {
			t.Errorf("the version did not change with %q", new)
		}
	}
}

func TestSetIsSafeForConcurrentUse(t *testing.T) {
	set := load(t, file("a.yaml", base))
	done := make(chan bool)
	for range 4 {
		go func() {
			ok := true
			for range 500 {
				ok = ok && fires(set, "sh", "/x") && !fires(set, "node", "/x")
			}
			done <- ok
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("wrong answer")
		}
	}
}

package rules_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

// one wraps a condition in a file with a rule "r" and what comes before it.
func one(before, condition string) rules.File {
	indented := strings.ReplaceAll(condition, "\n", "\n    ")
	return rules.File{Name: "t.yaml", Data: fmt.Appendf(nil, "%s\n- rule: r\n  desc: d\n  condition: >\n    %s\n  output: o\n  priority: WARNING\n", before, indented)}
}

// sample is the event that the conditions below are asked about.
func sample() *event {
	parent := &process{name: "sh", exe: "/usr/bin/dash", args: "-c node x.js", parent: &process{name: "npm ci", exe: "/usr/bin/node", args: "ci", parent: &process{name: "init", exe: "/init"}}}
	p := &process{name: "node", exe: "/opt/Node/bin/node", args: "x.js --flag a\"b", cwd: "/opt/Node/", parent: parent,
		env: map[string]string{"HOME": "/root", "EMPTY": "", "odd name": "1"}}
	e := newEvent("openat", p, map[string]any{
		"fd.name": "/etc/ssh/ssh_config", "fd.filename": "ssh_config", "fd.directory": "/etc/ssh", "fd.num": 3,
		"evt.rawres": -2, "evt.failed": true, "evt.arg.flags": "O_RDONLY|O_CLOEXEC", "evt.arg.name": "L2V0Yw==",
		"fd.sip": netip.MustParseAddr("10.1.2.3"), "fd.snet": netip.MustParseAddr("10.1.2.3"),
		"fd.rip": netip.MustParseAddr("2001:db8::1"), "fd.rnet": netip.MustParseAddr("2001:db8::1"),
		"fs.path.name": "line one\nline two", "proc.pid": 42,
	})
	return e
}

func TestConditions(t *testing.T) {
	for cond, want := range map[string]bool{
		// equality, absent fields
		"proc.name = node":              true,
		"proc.name=node":                true,
		"proc.name == \"node\"":         true,
		"proc.name != 'node'":           false,
		"proc.name != sh":               true,
		"evt.arg.target = x":            false,
		"evt.arg.target != x":           false,
		"not evt.arg.target = x":        true,
		"evt.arg.target exists":         false,
		"evt.arg.flags exists":          true,
		"evt.time exists":               false,
		"proc.env[HOME] = /root":        true,
		"proc.env[NONE] = \"\"":         false,
		"proc.env[EMPTY] = \"\"":        true,
		"proc.env[\"odd name\"] = 1":    true,
		"proc.args contains \"a\\\"b\"": true,
		// logic and precedence
		"proc.name = x and proc.name = y or proc.name = node":   true,
		"proc.name = node or proc.name = x and proc.name = y":   true,
		"(proc.name = node or proc.name = x) and proc.name = y": false,
		"not proc.name = x and not(proc.name = y)":              true,
		"not not proc.name = node":                              true,
		"not (proc.name = node or proc.name = x)":               false,
		"proc.name=node and(proc.name=node)or(proc.name=x)":     true,
		"( ( proc.name\n=\tnode ) )":                            true,
		// numbers
		"fd.num = 3":               true,
		"fd.num=0x3":               true,
		"fd.num in (1, 2, 3)":      true,
		"fd.num intersects (1, 2)": false,
		"evt.rawres < 0":           true,
		"evt.rawres <= -2":         true,
		"evt.rawres>=-1":           false,
		"evt.rawres > -3":          true,
		"evt.rawres != -2":         false,
		"evt.failed = true":        true,
		"evt.failed != true":       false,
		"evt.failed in (false)":    false,
		// strings
		"fd.name contains ssh/":                            true,
		"fd.name icontains SSH_C":                          true,
		"fd.name startswith /etc/":                         true,
		"fd.name endswith config":                          true,
		"fd.name in (/etc, /etc/ssh/ssh_config)":           true,
		"fd.name in (a, b, c, d, e, /etc/ssh/ssh_config)":  true,
		"fd.name glob \"/etc/*config\"":                    true,
		"fd.name glob /etc/ssh/ssh_confi?":                 true,
		"fd.name glob \"/etc/ssh/[r-t]sh_*\"":              true,
		"fd.name glob \"/etc/ssh/[!a-r]sh_*\"":             true,
		"fd.name glob \"/ETC/*\"":                          false,
		"fd.name iglob \"/ETC/*\"":                         true,
		"fd.name regex \"/etc/[a-z]+/.*\"":                 true,
		"fd.name regex \"/etc\"":                           false, // the whole value must match
		"fd.name regex \"(/etc|/etc/ssh/ssh_config)\"":     true,
		"fs.path.name regex \"line.*\"":                    false, // a dot is no line break
		"fs.path.name regex \"line one$(.|[[:cntrl:]])*\"": true,
		"fd.name pmatch (/etc/ssh)":                        true,
		"fd.name pmatch (/etc/ss, /var)":                   false,
		"fd.name pmatch (/*/ssh/ssh_?onfig)":               true,
		"fd.name pmatch (/)":                               true,
		"fd.name pmatch (/etc/ssh/ssh_config/x)":           false,
		"proc.name regex \"(n**)ode\"":                     true,
		"proc.name regex \"n|node\"":                       true,
		// addresses
		"fd.sip = 10.1.2.3":                                true,
		"fd.sip = ::ffff:10.1.2.3":                         true,
		"fd.sip != \"10.1.2.4\"":                           true,
		"fd.sip in (10.1.2.4, 2001:db8::1)":                false,
		"fd.snet = 10.0.0.0/8":                             true,
		"fd.snet in (\"192.168.0.0/16\", \"10.1.2.3/32\")": true,
		"fd.snet != 10.0.0.0/8":                            false,
		"fd.rnet in (\"2001:db8::/32\")":                   true,
		"fd.rnet in (\"10.0.0.0/8\")":                      false,
		"fd.lip exists":                                    false,
		// ancestors
		"proc.aname = sh":                true,
		"proc.aname = node":              false, // the process itself is no ancestor
		"proc.aname in (x, init)":        true,
		"proc.aname startswith \"npm \"": true,
		"proc.aname != sh":               true, // some ancestor differs
		"not proc.aname = zsh":           true,
		"proc.aname[0] = node":           true,
		"proc.aname[2] = \"npm ci\"":     true,
		"proc.aname[9] exists":           false,
		"proc.aname exists":              true,
		"proc.acmdline contains x.js":    true,
		"proc.aexepath pmatch (/usr)":    true,
		// transformers and fields on the right
		"tolower(proc.exepath) startswith /opt/node": true,
		"toupper(proc.name) = NODE":                  true,
		"basename(proc.exepath) = node":              true,
		"b64(evt.arg.name) = /etc":                   true,
		"b64(fd.name) exists":                        false,
		"len(proc.name) = 4":                         true,
		"len(proc.name) > 4":                         false,
		"len(evt.arg.target) = 0":                    false,
		"toupper(tolower(proc.name)) = NODE":         true,
		"proc.exepath startswith val(proc.cwd)":      true,
		"proc.name = val(proc.exepath)":              false,
		"proc.name = basename(proc.exepath)":         true,
		"proc.exepath endswith val( proc.name )":     true,
		"proc.pid > val(fd.num)":                     true,
		"proc.name = val(evt.arg.target)":            false,
		"fd.sip = val(fd.rip)":                       false,
		"proc.name in val(proc.name)":                true,
		// evt.type is an ordinary string, known at load
		"evt.type startswith open":       true,
		"evt.type != open":               true,
		"not evt.type in (open, openat)": false,
		"evt.type exists":                true,
		"syscall.type = openat":          true,
		"len(evt.type) = 6":              true,
	} {
		set, err := rules.Load(rules.SensorFields(), one("", cond))
		if err != nil {
			t.Errorf("%s: %v", cond, err)
			continue
		}
		if got := len(set.Match(sample())) == 1; got != want {
			t.Errorf("%s: got %t, want %t", cond, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ name, before, cond, want string }{
		{"unknown field", "", "proc.nam = x", `t.yaml:5:5: unknown field "proc.nam"`},
		{"position in a folded block", "", "proc.name = x\n  and proc.foo = y", `t.yaml:6:11: unknown field "proc.foo"`},
		{"unknown operator", "", "proc.name like x", `t.yaml:5:15: unexpected "like": expected an operator`},
		{"buffer operator", "", "proc.name bcontains 00", `operator "bcontains" does not apply to "proc.name", a string`},
		{"number with contains", "", "fd.num contains 3", `t.yaml:5:12: operator "contains" does not apply to "fd.num", a number`},
		{"string with <", "", "proc.name < 3", `operator "<" does not apply to "proc.name", a string`},
		{"word for a number", "", "fd.num = x", `t.yaml:5:14: "x" is not an integer`},
		{"fraction for a number", "", "fd.num = 1.5", `"1.5" is not an integer`},
		{"number expected", "", "fd.num < x", `expected a number`},
		{"not a boolean", "", "evt.failed = yes", `"yes" is neither true nor false`},
		{"not an address", "", "fd.sip = 10.0.0.0/8", `"10.0.0.0/8" is not an IP address`},
		{"not a network", "", "fd.snet = 10.0.0.1", `"10.0.0.1" is not a network`},
		{"time compared", "", "evt.time = x", `operator "=" does not apply to "evt.time", a time`},
		{"undefined macro", "", "proc.name = x and nosuch", `t.yaml:5:23: undefined macro "nosuch"`},
		{"undefined list", "", "proc.name in nosuch", `t.yaml:5:18: undefined list "nosuch"`},
		{"list as a value", "- list: l\n  items: [a]", "proc.name = l", `"l" is a list`},
		{"recursive macro", "- macro: m\n  condition: proc.name = x\n- macro: m\n  condition: or m\n  override: {condition: append}", "m", `t.yaml:4:17: macro "m" refers to itself`},
		{"macro used before", "- macro: a\n  condition: b\n- macro: b\n  condition: proc.name = x", "a", `macro "b" is defined at t.yaml:3:3, after its use here`},
		{"list of itself", "- list: a\n  items: [x]\n- list: b\n  items: [a]\n- list: a\n  items: [b]\n  override: {items: append}", "proc.name in (a)", `contains itself`},
		{"bad regex", "", `proc.name regex "["`, `is not a POSIX regular expression`},
		{"Perl regex", "", `proc.name regex "(?i)x"`, `is not a POSIX regular expression`},
		{"bad glob", "", `proc.name glob "[a"`, `has a '[' without ']'`},
		{"argument missing", "", "proc.env exists", `field "proc.env" needs an argument`},
		{"argument unwanted", "", "proc.name[1] = x", `field "proc.name" takes no argument`},
		{"argument no number", "", "proc.aname[x] = x", `is not an ancestor's number`},
		{"positional argument", "", "evt.arg[0] = x", `unknown field "evt.arg" (event arguments are named: evt.arg.flags)`},
		{"transformer of a number", "", "tolower(fd.num) = 3", `transformers apply to strings`},
		{"transformer after len", "", "tolower(len(proc.name)) = 3", `transformers apply to strings`},
		{"transformed ancestor", "", "tolower(proc.aname) = x", `can't be transformed`},
		{"unknown transformer", "", "join(proc.name) = x", `unknown or unsupported transformer "join"`},
		{"types differ", "", "proc.name = val(fd.num)", `"proc.name" is a string, but "fd.num" is a number`},
		{"pattern from a field", "", "proc.name regex val(fd.name)", `operator "regex" takes no field on its right side`},
		{"ancestor on the right", "", "proc.name = val(proc.aname[1])", `can't stand on the right side`},
		{"modifier", "", "proc.name startswith oneof (a, b)", `operator modifier "oneof" is not supported`},
		{"no end", "", "proc.name =", `the condition ends where a value is expected`},
		{"open parenthesis", "", "(proc.name = x", `the condition ends where ')' is expected`},
		{"open quote", "", `proc.name = "x`, `the quoted string does not end`},
		{"bad escape", "", `proc.name = "\d"`, `unsupported escape \d`},
		{"rubbish after", "", "proc.name = x y", `unexpected "y": expected 'and', 'or' or the end`},
		{"unknown event", "", "evt.type = opnat", `unknown evt.type "opnat"`},
		{"event never emitted", "", "evt.type = mmap", `can't be true for any evt.type`},
		{"contradiction", "", "evt.type = open and evt.type = execve", `can't be true for any evt.type`},
		{"empty list only", "- list: l\n  items: []", "proc.name in (l)", `can't be true for any evt.type`},
		{"too deep", "", strings.Repeat("(", 300) + "proc.name = x" + strings.Repeat(")", 300), `nested deeper than 200 levels`},
		{"too long", "", "proc.name = " + strings.Repeat("x", rules.MaxConditionBytes), `condition is longer than`},
	} {
		_, err := rules.Load(rules.SensorFields(), one(tt.before, tt.cond))
		if err == nil {
			t.Errorf("%s: loaded", tt.name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

// A macro that doubles itself sixty times must not be written out.
func TestMacroBombIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("- macro: m0\n  condition: proc.name = x\n")
	for i := 1; i <= 60; i++ {
		fmt.Fprintf(&b, "- macro: m%d\n  condition: (m%d and proc.pid = %d) or (m%d and proc.pid > %d)\n", i, i-1, i, i-1, i)
	}
	_, err := rules.Load(rules.SensorFields(), one(b.String(), "m60"))
	if err == nil || !strings.Contains(err.Error(), "expands to more than 20000 terms") {
		t.Fatalf("got %v", err)
	}
}

func TestListBombIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("- list: l0\n  items: [a, b, c, d]\n")
	for i := 1; i <= 20; i++ {
		fmt.Fprintf(&b, "- list: l%d\n  items: [l%d, l%d, l%d, l%d]\n", i, i-1, i-1, i-1, i-1)
	}
	_, err := rules.Load(rules.SensorFields(), one(b.String(), "proc.name in (l20)"))
	if err == nil || !strings.Contains(err.Error(), "more than 20000 items") {
		t.Fatalf("got %v", err)
	}
}

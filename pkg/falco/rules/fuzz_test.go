package rules_test

import (
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Whatever the condition, Load answers, and a rule that loads can be asked.
func FuzzCondition(f *testing.F) {
	for _, s := range []string{
		"proc.name = x", "m and not (fd.num in (1, 0x2) or proc.aname[2] exists)", `fd.name glob "/a[!b]*" or fd.name pmatch (l, /x)`,
		`tolower(proc.name) = val(proc.pname)`, `proc.args regex "(a|b)+[[:cntrl:]]"`, "evt.type in (open) and fd.snet = 10.0.0.0/8",
		"((((", `proc.name = "\x41\"`, "b64(len(proc.name)) > 1e+3", "proc.name startswith oneof (a)",
	} {
		f.Add(s)
	}
	ev := sample()
	f.Fuzz(func(t *testing.T, cond string) {
		set, err := rules.Load(rules.SensorFields(), one("- list: l\n  items: [a, '\"b c\"']\n- macro: m\n  condition: proc.name = x or evt.failed = true\n", cond))
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("kind %s: %v", fault.KindOf(err), err)
			}
			return
		}
		for _, m := range set.Match(ev) {
			_ = m.Output()
			_ = m.Fields()
		}
	})
}

// Whatever the bytes, Load answers with a Set or with errors that have places.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte("- rule: r\n  desc: d\n  condition: >-\n    proc.name = x\n    and nope\n  output: '%proc.name'\n  priority: DEBUG\n"))
	f.Add([]byte("- macro: m\n  condition: \"m or\\n proc.name = x\"\n- macro: m\n  condition: and m\n  append: true\n"))
	f.Add([]byte("- list: a\n  items: &x [b]\n- &y\n  list: *x\n---\n- {rule: x, enabled: no}"))
	ev := sample()
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := rules.Load(rules.SensorFields(), rules.File{Name: "f.yaml", Data: data})
		if err != nil {
			_ = err.Error()
			return
		}
		for _, m := range set.Match(ev) {
			_ = m.Output()
			_ = m.Fields()
		}
	})
}

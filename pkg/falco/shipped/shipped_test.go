package shipped_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func TestShippedRulesHaveOneVersion(t *testing.T) {
	a, err := shipped.Load("")
	if err != nil {
		t.Fatal(err)
	}
	b, err := shipped.Load("")
	if err != nil || a.Version() == "" || a.Version() != b.Version() || len(a.Rules()) == 0 {
		t.Errorf("versions %q and %q, %d rules, error %v", a.Version(), b.Version(), len(a.Rules()), err)
	}
}

func TestDirectories(t *testing.T) {
	write := func(name, text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	const rule = "- rule: a shell\n  desc: d\n  condition: evt.type = execve and proc.name = sh\n  output: shell\n  priority: WARNING\n"
	set, err := shipped.Load(write("own.yaml", rule))
	if err != nil || len(set.Rules()) != 1 {
		t.Errorf("a rule of one's own: %v", err)
	}
	for name, dir := range map[string]string{"no rules": t.TempDir(), "no directory": filepath.Join(t.TempDir(), "none"),
		"other files": write("rules.txt", rule), "malformed": write("bad.yaml", "- rule: [")} {
		if _, err := shipped.Load(dir); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v, want an invalid error", name, err)
		}
	}
}

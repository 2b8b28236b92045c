package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// nobody is the unprivileged account that the tests use where they run as root.
const nobody = 65534

// newUser is an account without privileges.
func newUser(t *testing.T) *account {
	t.Helper()
	a := newAccount(t)
	if os.Getuid() != 0 {
		return a // it is one already
	}
	for _, dir := range []string{a.home, a.tmp} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	a.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return a
}

// An ordinary user gets the same verdicts, in the same sandbox.
func TestRootless(t *testing.T) {
	for name, code := range map[string]int{"stolen-key": 2, "reverse-shell": 2, "benign-postinstall": 0} {
		t.Run(name, func(t *testing.T) {
			a := newUser(t)
			o := a.falconer("scan", "--format=json", a.write("project", project(t, name)))
			r := one(t, o)
			if o.code != code || r.Sandbox.Kind != "gvisor" {
				t.Errorf("exit code %d, want %d; sandbox %+v, incomplete %q\n%s", o.code, code, r.Sandbox, r.Incomplete, o.errout)
			}
			for _, wrong := range shared.cases[name].Check(r) {
				t.Error(wrong)
			}
		})
	}
}

// The same holds for limits, interruption and what is left behind.
func TestRootlessEnds(t *testing.T) {
	a := newUser(t)
	dir := a.write("project", project(t, "hang"))
	o := a.falconer("scan", "--format=json", "--timeout=8s", dir)
	if r := one(t, o); o.code != 3 || r.Verdict != finding.Inconclusive || r.Sandbox.Reason != "timeout" {
		t.Errorf("exit code %d, verdict %s, sandbox %+v\n%s", o.code, r.Verdict, r.Sandbox, o.errout)
	}
	p := a.start("scan", dir)
	p.says("falconer-corpus-hang@1.0.0 postinstall")
	p.signal(os.Interrupt)
	if o := p.wait(); o.code != 130 {
		t.Errorf("interrupted: exit code %d\n%s", o.code, o.errout)
	}
}

// What a user may not read is named, not skipped.
func TestUnreadable(t *testing.T) {
	a := newUser(t)
	dir := a.write("project", project(t, "benign-plain"))
	secret := a.write("secret", project(t, "benign-plain"))
	for name, mode := range map[string]os.FileMode{secret: 0, dir + "/package-lock.json": 0} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{secret: "permission denied", dir: "package-lock.json"} {
		o := a.falconer("scan", path)
		if o.code != 4 || !oneLine(o.errout) || !strings.Contains(o.errout, want) {
			t.Errorf("%s: exit code %d\n%s%s", path, o.code, o.out, o.errout)
		}
	}
}

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem/pip/piptest"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// wheels makes a folder of distributions and the requirements that pin them.
func (a *account) wheels(sources map[string]string) (dir, requirements string) {
	a.t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range sources {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	archives, err := piptest.Pack(fsys)
	if err != nil {
		a.t.Fatal(err)
	}
	builders, err := piptest.Builders()
	if err != nil {
		a.t.Fatal(err)
	}
	dir = filepath.Join(a.home, "wheels")
	if err := piptest.Write(dir, append(builders, archives...)); err != nil {
		a.t.Fatal(err)
	}
	for _, archive := range archives {
		requirements += archive.Requirement()
	}
	return dir, requirements
}

// blames reports whether a finding of that priority or above names the package
// and the script.
func blames(r finding.Result, purl, script string) bool {
	return slices.ContainsFunc(r.Findings, func(f finding.Finding) bool {
		return f.Priority <= finding.Critical && f.Package.PURL == purl && f.Script == script
	})
}

const setup = "from setuptools import setup\nsetup(name='acme-tool', version='1.0', py_modules=['acme_tool'])\n"

// A setup.py that reads a key is found, by its package's name; one that builds
// is not.
func TestPip(t *testing.T) {
	for name, c := range map[string]struct {
		setup string
		code  int
	}{
		"a thief":  {"import os\nopen(os.path.expanduser('~/.ssh/id_rsa')).read()\n" + setup, 2},
		"a worker": {setup, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			dir, requirements := a.wheels(map[string]string{"acme-tool-1.0/setup.py": c.setup, "acme-tool-1.0/acme_tool.py": "import json, sqlite3, ssl\n"})
			o := a.falconer("scan", "--format=json", "--packages", "pypi="+dir, a.write("project", files{"requirements.txt": requirements}))
			r := one(t, o)
			if o.code != c.code || r.Manager != "pip" || r.Packages != 1 {
				t.Errorf("exit code %d, %s, %d packages: %q, incomplete %q\n%s", o.code, r.Manager, r.Packages, r.Reasons, r.Incomplete, r.Log)
			}
			if got := blames(r, "pkg:pypi/acme-tool@1.0", "get_requires_for_build_wheel"); got != (c.code == 2) {
				t.Errorf("findings %+v", r.Findings)
			}
		})
	}
}

// A build script that reads a key is found by its crate's name.
func TestCargo(t *testing.T) {
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("no cargo on this machine")
	}
	a := newAccount(t)
	rustup := os.Getenv("RUSTUP_HOME")
	if rustup == "" {
		rustup = filepath.Join(os.Getenv("HOME"), ".rustup")
	}
	a.env = append(a.env, "RUSTUP_HOME="+rustup)
	crates := a.write("crates", files{
		"acme/Cargo.toml":           "[package]\nname = \"acme\"\nversion = \"1.2.0\"\n",
		"acme/build.rs":             "fn main() { let _ = std::fs::read(std::env::var(\"HOME\").unwrap() + \"/.ssh/id_rsa\"); }",
		"acme/src/lib.rs":           "",
		"acme/.cargo-checksum.json": `{"files":{},"package":"` + strings.Repeat("a", 64) + `"}`,
	})
	dir := a.write("project", files{"Cargo.toml": "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\nacme = \"1\"\n", "src/main.rs": "fn main() {}"})
	lock := exec.CommandContext(t.Context(), "cargo", "generate-lockfile", "--offline", "--config", `source.crates-io.replace-with="v"`, "--config", `source.v.directory="`+crates+`"`)
	lock.Dir, lock.Env = dir, a.env
	if out, err := lock.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o := a.falconer("scan", "--format=json", "--packages", "cargo="+crates, dir)
	if r := one(t, o); o.code != 2 || !blames(r, "pkg:cargo/acme@1.2.0", "build.rs") {
		t.Errorf("exit code %d: %q, incomplete %q\n%s", o.code, r.Reasons, r.Incomplete, r.Log)
	}
}

// What can't be scanned beside what can leaves the source inconclusive, and a
// folder of packages that is missing is asked for.
func TestNotPassedOver(t *testing.T) {
	a := newAccount(t)
	dir, requirements := a.wheels(map[string]string{"acme-tool-1.0/acme_tool.py": ""})
	source := a.write("project", files{"requirements.txt": requirements, "server/pom.xml": "<project/>",
		"web/package.json": `{"dependencies":{"acme":"1"}}`, "web/yarn.lock": "# yarn lockfile v1\n"})
	o := a.falconer("scan", "--format=json", "--packages", "pypi="+dir, source)
	if r := one(t, o); o.code != 3 || r.Verdict != finding.Clean || !strings.Contains(o.errout, "server/pom.xml is found and not scanned") ||
		!strings.Contains(o.errout, "web/yarn.lock is found and not scanned") || strings.Contains(o.errout, "web/package.json") {
		t.Errorf("exit code %d, %s\n%s", o.code, r.Verdict, o.errout)
	}
	if o := a.falconer("scan", "--format=json", source); o.code == 0 || !strings.Contains(o.errout, "--packages pypi=DIR") {
		t.Errorf("without packages: exit code %d\n%s", o.code, o.errout)
	}
	if o := a.falconer("scan", "--packages", "nuget="+dir, source); o.code != 4 || !strings.Contains(o.errout, `"nuget" is none of pypi`) {
		t.Errorf("of another kind: exit code %d\n%s", o.code, o.errout)
	}
}

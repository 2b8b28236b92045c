package pip_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pip"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pip/piptest"
)

// seen is what a process of a package tells about itself.
type seen struct {
	Argv []string
	Cwd  string
}

// tell makes Python code say in a file who runs it.
const tell = `
def tell(name):
    import json, os
    with open("/proc/self/cmdline") as f: argv = f.read().split("\0")[:-1]
    with open(os.environ["TOLD"], "a") as f: f.write(json.dumps({"Argv": [name] + argv, "Cwd": os.getcwd()}) + "\n")
`

// The machine's own pip installs and loads what the recipe says, and each of
// its processes has its place.
func TestInstall(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("no python3 on this machine: these tests need the real client")
	}
	archives, err := piptest.Pack(fstest.MapFS{
		"acme-build-1.0/setup.py":         {Data: []byte(tell + "tell('setup')\nfrom setuptools import setup\nsetup(name='acme-build', version='1.0', py_modules=['acme_build'])\n")},
		"acme-build-1.0/acme_build.py":    {Data: []byte(tell + "tell('import')\n")},
		"acme-wheel-2.0/acme/__init__.py": {Data: []byte(tell + "tell('wheel')\n")},
		"acme-wheel-2.0/acme.pth":         {Data: []byte("import sys; exec(\"" + strings.NewReplacer("\n", `\n`, `"`, `\"`, `\`, `\\`).Replace(tell+"tell('pth')\n") + "\")\n")},
		"acme-broken-3.0/acme_broken.py":  {Data: []byte("raise OSError('no such thing')\n")},
		"acme-left-4.0/acme_left.py":      {Data: []byte("")},
	})
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	work, home, told := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "told")
	if err := piptest.Write(filepath.Join(home, pip.CacheDir), archives); err != nil {
		t.Fatal(err)
	}
	builders, err := piptest.Builders()
	if err != nil {
		t.Fatal(err)
	}
	if err := piptest.Write(filepath.Join(home, pip.CacheDir), builders); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, a := range archives {
		lines[a.Name] = a.Requirement()
	}
	text := "# pinned\n" + lines["acme-build"] + lines["acme-wheel"] + lines["acme-broken"] + strings.Replace(lines["acme-left"], " --hash", `; python_version < "3" --hash`, 1)
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "requirements.txt"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := pip.Manager{}.Load(os.DirFS(work), ".")
	if err != nil || len(p.Problems) > 0 {
		t.Fatalf("%v, problems %q", err, p.Problems)
	}
	s := ecosystem.Setting{Home: home, Work: work, Import: true}
	r := pip.Manager{}.Recipe(p, s)
	env := append(r.Env, "PATH="+os.Getenv("PATH"), "TOLD="+told)
	run := func(argv []string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, python, argv[1:]...)
		cmd.Dir, cmd.Env = work, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%.40q: %v\n%s", argv, err, out)
		}
	}
	run(r.Argv)
	if len(r.Steps) != 1 || len(r.Steps[0].Packages) != 4 {
		t.Fatalf("%d steps", len(r.Steps))
	}
	run(r.Steps[0].Argv)
	for name, want := range map[string]string{"setup": "pkg:pypi/acme-build@1.0", "import": "", "wheel": "", "pth": ""} {
		got := heard(t, told, name)
		if len(got) == 0 {
			t.Errorf("%s did not run", name)
		}
		for _, g := range got {
			place, ok := pip.Manager{}.Place(p, s, ecosystem.Exec{Argv: g.Argv, Cwd: g.Cwd})
			if ok != (want != "") || place.Package.PURL != want {
				t.Errorf("%s: %+v is placed at %+v, %v", name, g, place, ok)
			}
			if ok && place.Script == "" {
				t.Errorf("%s: no script", name)
			}
		}
	}
}

func heard(t *testing.T, file, name string) []seen {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []seen
	for line := range strings.Lines(string(b)) {
		var s seen
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if s.Argv[0] == name {
			s.Argv = s.Argv[1:]
			out = append(out, s)
		}
	}
	return out
}

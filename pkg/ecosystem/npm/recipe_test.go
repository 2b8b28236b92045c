package npm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// npmProgram is the npm to test with: FALCONER_TEST_NPM, else the PATH's.
func npmProgram(t *testing.T) string {
	t.Helper()
	name := os.Getenv("FALCONER_TEST_NPM")
	if name == "" {
		name = "npm"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatal("no npm on this machine: these tests need the real client")
	}
	return program
}

// Two workspace members and the project have scripts that copy what the
// kernel knows of their own shell to a file; no registry is needed.
const witnesses = `
-- package.json --
{"name": "root", "version": "1.0.0", "workspaces": ["packages/*"], "scripts": {"postinstall": "sh ./witness.sh \"$$\" root", "prepare": "sh ./witness.sh \"$$\" root-prepare"}}
-- package-lock.json --
{"name": "root", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
  "": {"name": "root", "version": "1.0.0", "hasInstallScript": true, "workspaces": ["packages/*"]},
  "node_modules/a": {"resolved": "packages/a", "link": true},
  "node_modules/b": {"resolved": "packages/b", "link": true},
  "packages/a": {"version": "1.0.0", "hasInstallScript": true},
  "packages/b": {"version": "1.0.0", "hasInstallScript": true}
}}
-- packages/a/package.json --
{"name": "a", "version": "1.0.0", "scripts": {"preinstall": "sh ../../witness.sh \"$$\" a"}}
-- packages/b/package.json --
{"name": "b", "version": "1.0.0", "scripts": {"postinstall": "sh ../../witness.sh \"$$\" b"}}
-- witness.sh --
for part in cmdline environ; do cat "/proc/$1/$part" >"$HOME/$2.$part"; done
readlink "/proc/$1/cwd" >"$HOME/$2.cwd"
readlink "/proc/$1/exe" >"$HOME/$2.exe"
`

// install unpacks the archive, with extra files, and runs the recipe on it. It
// returns the project, the setting and npm's output.
func install(t *testing.T, archive string, extra map[string]string) (ecosystem.Project, ecosystem.Setting, string, error) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := ecosystem.Setting{Registry: "http://127.0.0.1:9/", Home: filepath.Join(top, "home"), Work: filepath.Join(top, "work")}
	files := map[string]string{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		files[f.Name] = string(f.Data)
	}
	for name, content := range extra {
		files[name] = content
	}
	for name, content := range files {
		at := filepath.Join(s.Work, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Manager{}.Load(os.DirFS(s.Work), ".")
	if err != nil {
		t.Fatal(err)
	}
	r := Manager{}.Recipe(p, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npmProgram(t), r.Argv[1:]...)
	cmd.Dir = s.Work
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, r.Env...)
	out, err := cmd.CombinedOutput()
	return p, s, string(out), err
}

func witnessed(t *testing.T, home, who string) ecosystem.Exec {
	t.Helper()
	read := func(part string) string {
		b, err := os.ReadFile(filepath.Join(home, who+"."+part))
		if err != nil {
			t.Fatalf("%s's script did not run: %v", who, err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\x00")
	}
	return ecosystem.Exec{
		Path: read("exe"), Cwd: read("cwd"),
		Argv: strings.Split(read("cmdline"), "\x00"), Env: strings.Split(read("environ"), "\x00"),
	}
}

// Real npm's lifecycle scripts are recognised and placed.
func TestPlaceRealNPM(t *testing.T) {
	p, s, out, err := install(t, witnesses, nil)
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if strings.Contains(out, "npm warn") || strings.Contains(out, "npm error") {
		t.Errorf("npm complains:\n%s", out)
	}
	for who, want := range map[string]ecosystem.Place{
		"root":         {Package: finding.Package{Path: "."}, Script: "postinstall", Phase: "install"},
		"root-prepare": {Package: finding.Package{Path: "."}, Script: "prepare", Phase: "install"},
		"a":            {Package: finding.Package{Path: "packages/a", Name: "a", Version: "1.0.0"}, Script: "preinstall", Phase: "install"},
		"b":            {Package: finding.Package{Path: "packages/b", Name: "b", Version: "1.0.0"}, Script: "postinstall", Phase: "install"},
	} {
		e := witnessed(t, s.Home, who)
		got, ok := Manager{}.Place(p, s, e)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: ok %v, argv %q (-want +got):\n%s", who, ok, e.Argv, diff)
		}
	}
}

// A project's .npmrc can't keep scripts from running, whatever it sets.
func TestHostileConfig(t *testing.T) {
	// In a few files rather than one each: npm takes a second to start. When
	// one fails, bisect it.
	for name, rc := range map[string]string{
		"other work": `ignore-scripts=true
version=true
versions=true
usage=true
dry-run=true
global=true
location=global
package-lock=false
package-lock-only=true
if-present=true
userconfig=./evil
globalconfig=./evil
prefix=/nowhere
json=true
loglevel=silent
foreground-scripts=false
script-shell=/bin/true
shell=/bin/true
node-options=--require ./nope.js`,
		"other packages": `omit[]=dev
omit[]=optional
production=true
only=prod
cpu=ia64
os=win32
strict-allow-scripts=true
allow-scripts=other
workspaces=false
bin-links=false
rebuild-bundle=false
install-links=true
install-strategy=linked
legacy-bundling=true
global-style=true
engine-strict=true
umask=0777
allow-directory=none`,
		"other registry": `registry=http://127.0.0.1:1/
scope=@evil
@evil:registry=http://127.0.0.1:1/
proxy=http://127.0.0.1:1/
cafile=/nonexistent
offline=true
cache=/dev/null/x
cache-max=0
prefer-online=true
before=2000-01-01
min-release-age=9999
force=true`,
	} {
		t.Run(name, func(t *testing.T) {
			_, s, out, err := install(t, witnesses, map[string]string{".npmrc": rc + "\n"})
			if err != nil {
				t.Fatalf("npm ci: %v\n%s", err, out)
			}
			for _, who := range []string{"root", "root-prepare", "a", "b"} {
				e := witnessed(t, s.Home, who)
				if e.Argv[0] != "sh" || e.Argv[1] != "-c" {
					t.Errorf("%s ran as %q", who, e.Argv)
				}
				for _, v := range e.Env {
					if strings.HasPrefix(v, "NODE_OPTIONS=") && strings.Contains(v, "nope.js") {
						t.Errorf("%s ran with %s", who, v)
					}
				}
			}
		})
	}
}

// package.json can deny scripts by npm 11's policy; the recipe overrules it.
func TestDeniedScriptsRun(t *testing.T) {
	manifest := strings.Replace(witnesses, `"workspaces"`, `"allowScripts": {"a": false, "b": false}, "workspaces"`, 1)
	_, s, out, err := install(t, manifest, nil)
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	witnessed(t, s.Home, "a")
	witnessed(t, s.Home, "b")
}

func TestRecipe(t *testing.T) {
	p := ecosystem.Project{
		Packages: []ecosystem.Package{
			{Package: finding.Package{Name: "@b_c/x", Path: "node_modules/@alias/y"}},
			{Package: finding.Package{Name: "plain", Path: "node_modules/plain"}},
		},
		Settings: map[string]string{"legacy-peer-deps": "true", "registry": "http://evil.example.com/"},
	}
	r := Manager{}.Recipe(p, ecosystem.Setting{Registry: "http://127.0.0.1:4873/", Home: "/home/u", Work: "/w", Scopes: []string{"@acme", "@a b"}, NodeDir: "/usr"})
	argv := strings.Join(r.Argv, " ")
	for _, scope := range []string{"@acme", "@alias", "@b_c"} {
		if !strings.Contains(argv, "--"+scope+":registry=http://127.0.0.1:4873/") {
			t.Errorf("scope %s is not sent to the proxy: %s", scope, argv)
		}
	}
	if strings.Contains(argv, "@a b") {
		t.Errorf("a malformed scope reached the command line: %s", argv)
	}
	env := map[string]string{}
	for _, v := range r.Env {
		name, value, _ := strings.Cut(v, "=")
		if _, twice := env[name]; twice {
			t.Errorf("%s is set twice", name)
		}
		env[name] = value
	}
	for name, want := range map[string]string{
		"npm_config_registry": "http://127.0.0.1:4873/", "npm_config_legacy_peer_deps": "true", "npm_config_nodedir": "/usr",
		"npm_config_cache": "/home/u/.npm", "HOME": "/home/u",
	} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
	if diff := cmp.Diff([]string{".npmrc"}, r.Withhold); diff != "" {
		t.Error(diff)
	}
}

package gomod_test

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/gomod"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func source(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

const (
	manifest = `module example.com/app

go 1.21

require example.com/Direct v1.0.0

require (
	example.com/deep/v2 v2.3.4 // indirect
	example.com/local v0.0.0
	example.com/forked v1.1.1
)

replace example.com/local => ./local

replace example.com/forked v1.1.1 => example.com/fork v1.9.0
`
	sums = `example.com/Direct v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
example.com/Direct v1.0.0/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
example.com/fork v1.9.0/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
`
)

func TestDetect(t *testing.T) {
	got, err := gomod.Manager{}.Detect(source(map[string]string{"go.mod": manifest, "tools/go.mod": "module x\nrequire y v1.0.0", "none/go.mod": "module n", "a/testdata/go.mod": manifest, "vendor/x/go.mod": manifest}))
	if err != nil || !slices.Equal(got, []string{".", "tools"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLoad(t *testing.T) {
	p, err := gomod.Manager{}.Load(source(map[string]string{"go.mod": manifest, "go.sum": sums}), ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pkg := range p.Packages {
		got = append(got, pkg.PURL)
	}
	want := []string{"pkg:golang/example.com/Direct@v1.0.0", "pkg:golang/example.com/deep/v2@v2.3.4", "pkg:golang/example.com/fork@v1.9.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all := strings.Join(p.Problems, "\n"); len(p.Problems) != 2 || !strings.Contains(all, "forked v1.1.1 is replaced") || !strings.Contains(all, "deep/v2 v2.3.4 has no hash") {
		t.Errorf("problems %q", p.Problems)
	}
	other, err := gomod.Manager{}.Load(source(map[string]string{"go.mod": manifest + "\n", "go.sum": sums}), ".")
	if err != nil || other.Digest == p.Digest {
		t.Errorf("another go.mod has the digest %s, %v", other.Digest, err)
	}
	if p, err := (gomod.Manager{}).Load(source(map[string]string{"go.mod": manifest}), "."); err != nil || p.Lockfile != "go.mod" || len(p.Problems) != 4 {
		t.Errorf("without go.sum: %+v, %v", p, err)
	}
	vendored, err := gomod.Manager{}.Load(source(map[string]string{"go.mod": manifest, "go.sum": sums, "vendor/modules.txt": ""}), ".")
	if r := (gomod.Manager{}).Recipe(vendored, ecosystem.Setting{}); err != nil || r.Registry != "" {
		t.Errorf("with its modules at hand it asks %q, %v", r.Registry, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":      {},
		"no go.mod":    {"go.mod": "{"},
		"a bad path":   {"go.mod": "module x\nrequire ../../y v1.0.0"},
		"a bad go.sum": {"go.mod": manifest, "go.sum": "<<<<<<< HEAD\n"},
	} {
		if p, err := (gomod.Manager{}).Load(source(files), "."); err == nil || fault.Retryable(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestPlace(t *testing.T) {
	p, err := gomod.Manager{}.Load(source(map[string]string{"go.mod": manifest, "go.sum": sums}), ".")
	if err != nil {
		t.Fatal(err)
	}
	s := ecosystem.Setting{Home: "/root", Work: "/builds/project"}
	for cwd, want := range map[string]string{
		"/root/go/pkg/mod/example.com/!direct@v1.0.0/sub":  "pkg:golang/example.com/Direct@v1.0.0",
		"/root/go/pkg/mod/example.com/deep/v2@v2.3.4":      "pkg:golang/example.com/deep/v2@v2.3.4",
		"/root/go/pkg/mod/example.com/deep/v2@v2.3.40":     "",
		"/root/go/pkg/mod/example.com/!direct@v9.0.0":      "",
		"/builds/project/vendor/example.com/deep/v2/inner": "pkg:golang/example.com/deep/v2@v2.3.4",
		"/builds/project": "",
	} {
		place, ok := gomod.Manager{}.Place(p, s, ecosystem.Exec{Argv: []string{"/usr/lib/go/pkg/tool/linux_amd64/cgo", "-objdir"}, Cwd: cwd})
		if place.Package.PURL != want || ok != (want != "") || ok && place.Script != "cgo" {
			t.Errorf("%s: %+v, %v", cwd, place, ok)
		}
	}
}

// proxy writes one module's files as a module proxy has them.
func proxy(t *testing.T, dir, path, version string, files map[string]string) {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for name, text := range files {
		f, err := w.Create(path + "@" + version + "/" + name)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, path, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"list": version + "\n", version + ".info": `{"Version":"` + version + `"}`, version + ".mod": files["go.mod"], version + ".zip": archive.String()} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The machine's own Go builds and initialises what the recipe says.
func TestBuild(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Fatal("no go on this machine: these tests need the real client")
	}
	top := t.TempDir()
	work, home, told := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "told")
	proxy(t, filepath.Join(home, gomod.CacheDir), "example.com/acme", "v1.0.0", map[string]string{
		"go.mod":   "module example.com/acme\n\ngo 1.21\n",
		"sub/a.go": "package sub\n\nimport \"os\"\n\nfunc init() { os.WriteFile(os.Getenv(\"TOLD\"), []byte(\"init\"), 0o600) }\n\nfunc Use() {}\n",
	})
	for name, text := range map[string]string{"go.mod": "module example.com/app\n\ngo 1.21\n\nrequire example.com/acme v1.0.0\n", "main.go": "package main\n\nimport \"example.com/acme/sub\"\n\nfunc main() { sub.Use() }\n"} {
		if err := os.MkdirAll(work, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := ecosystem.Setting{Home: home, Work: work, Import: true}
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output() // the standard library is built there already
	if err != nil {
		t.Fatal(err)
	}
	env := append(gomod.Manager{}.Recipe(ecosystem.Project{}, s).Env, "PATH="+os.Getenv("PATH"), "TOLD="+told, "GOCACHE="+strings.TrimSpace(string(cache)))
	run := func(env []string, argv ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = work, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%.60q: %v\n%s", argv, err, out)
		}
	}
	t.Cleanup(func() { // modules are read-only
		if out, err := exec.Command("chmod", "-R", "u+w", home).CombinedOutput(); err != nil {
			t.Logf("%s: %v", out, err)
		}
	})
	run(append(env, "GOFLAGS=-mod=mod"), "go", "mod", "tidy")
	p, err := gomod.Manager{}.Load(os.DirFS(work), ".")
	if err != nil || len(p.Problems) > 0 || len(p.Packages) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	r := gomod.Manager{}.Recipe(p, s)
	run(env, r.Argv...)
	if b, err := os.ReadFile(told); err == nil {
		t.Errorf("the build ran %q", b)
	}
	if len(r.Steps) != 1 || len(r.Steps[0].Packages) != 1 {
		t.Fatalf("steps %+v", r.Steps)
	}
	run(env, r.Steps[0].Argv...)
	if b, err := os.ReadFile(told); err != nil || string(b) != "init" {
		t.Errorf("the import ran %q, %v", b, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(manifest, sums)
	f.Fuzz(func(t *testing.T, mod, sum string) {
		p, err := gomod.Manager{}.Load(source(map[string]string{"go.mod": mod, "go.sum": sum}), ".")
		if err != nil && fault.Retryable(err) {
			t.Errorf("a fault of the source is taken for one of ours: %v", err)
		}
		for _, pkg := range p.Packages {
			if strings.ContainsAny(pkg.Name+pkg.Version, " \n") || !strings.HasPrefix(pkg.PURL, "pkg:golang/") {
				t.Errorf("package %+v", pkg)
			}
		}
	})
}

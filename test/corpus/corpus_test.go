package corpus_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
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
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/test/corpus"
)

var update = flag.Bool("update", false, "rewrite the lockfiles of cases whose packages are the corpus's own")

func load(t *testing.T) []corpus.Case {
	t.Helper()
	cases, err := corpus.Load(corpus.FS)
	if err != nil || len(cases) < 20 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	return cases
}

func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := rewrite(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return // the embedded files are the old ones: run again
	}
	os.Exit(m.Run())
}

// rewrite makes the lockfiles anew, from the files on disk.
func rewrite() error {
	dirs, err := filepath.Glob("*/expect.json")
	if err != nil {
		return err
	}
	for _, d := range dirs { // Load needs one in each case
		lock := filepath.Join(filepath.Dir(d), "package-lock.json")
		if _, err := os.Stat(lock); err != nil {
			if err := os.WriteFile(lock, []byte("{}\n"), 0o644); err != nil { //nolint:gosec // a file of the repository
				return err
			}
		}
	}
	cases, err := corpus.Load(os.DirFS("."))
	if err != nil {
		return err
	}
	for _, c := range cases {
		if c.Expect.Real {
			continue
		}
		b, err := c.Lockfile()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.Name, "package-lock.json"), b, 0o644); err != nil { //nolint:gosec // see above
			return err
		}
	}
	return nil
}

// Each case's lockfile pins its sources, and what is expected makes sense.
func TestCases(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.Name, func(t *testing.T) {
			files, err := c.Project()
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for name, b := range files {
				fsys[name] = &fstest.MapFile{Data: b}
			}
			p, err := npm.Manager{}.Load(fsys, ".")
			if err != nil || len(p.Problems) > 0 {
				t.Fatalf("Load: %v, problems %q", err, p.Problems)
			}
			if !c.Expect.Real {
				want, err := c.Lockfile()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(files["package-lock.json"])); diff != "" {
					t.Errorf("the lockfile is out of date (-update):\n%s", diff)
				}
			}
			checkExpect(t, c.Expect, p)
		})
	}
}

func checkExpect(t *testing.T, e corpus.Expect, p ecosystem.Project) {
	t.Helper()
	if e.About == "" || !slices.Contains([]finding.Verdict{finding.Clean, finding.Suspicious, finding.Malicious, finding.Inconclusive}, e.Verdict) {
		t.Errorf("about %q, verdict %q", e.About, e.Verdict)
	}
	if wants := e.Verdict == finding.Malicious || e.Verdict == finding.Suspicious; wants && len(e.Findings) == 0 || e.Verdict == finding.Clean && len(e.Findings) > 0 {
		t.Errorf("verdict %s with %d findings", e.Verdict, len(e.Findings))
	}
	for _, f := range e.Findings {
		// Without a script it is done when the package is loaded.
		known := func(pkg ecosystem.Package) bool { return pkg.PURL == f.Package && (pkg.HasScripts || f.Script == "") }
		if !slices.ContainsFunc(p.Packages, known) || f.Behaviour == "" {
			t.Errorf("finding %+v names no package that does it", f)
		}
	}
}

// Natively installed in an empty home, every case that may be runs to its end
// and leaves nothing behind but its own files.
func TestNativeInstall(t *testing.T) {
	program, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal("no npm on this machine: these tests need the real client")
	}
	cases := load(t)
	reg, err := corpus.Registry(cases, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := reg.Start(t) + "/"
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if !c.Native() || c.Expect.Real || c.Name == "flood" || slices.Contains(c.Expect.Needs, "node-gyp") {
				t.Skip("not for a native run: it hangs, crowds the machine, is slow, or needs a compiler or the real registry")
			}
			top := t.TempDir()
			work, home, tmp := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "tmp")
			for _, dir := range []string{work, filepath.Join(home, ".ssh"), tmp} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			files, err := c.Project()
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for name, b := range files {
				fsys[name] = &fstest.MapFile{Data: b}
				if err := os.WriteFile(filepath.Join(work, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := npm.Manager{}.Load(fsys, ".")
			if err != nil {
				t.Fatal(err)
			}
			r := npm.Manager{}.Recipe(p, ecosystem.Setting{Registry: address, Home: home, Work: work})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, r.Argv[1:]...)
			cmd.Dir = work
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp}, r.Env...)
			cmd.Stdout, cmd.Stderr = &tail{}, &tail{}
			if err := cmd.Run(); err != nil {
				t.Errorf("npm ci: %v\n%s%s", err, cmd.Stdout, cmd.Stderr)
			}
			if left := list(t, home); !slices.Equal(left, []string{".npm", ".ssh"}) {
				t.Errorf("left in the home folder: %q", left)
			}
			left := slices.DeleteFunc(list(t, tmp), func(name string) bool { return strings.HasPrefix(name, "node-compile-cache") })
			if len(left) > 0 {
				t.Errorf("left in the temporary folder: %q", left)
			}
		})
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 4096 {
		t.b = append([]byte(nil), t.b[len(t.b)-4096:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

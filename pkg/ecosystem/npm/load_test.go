package npm

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/fault"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata")

// sourceOf makes a file system of a txtar archive.
func sourceOf(a *txtar.Archive) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, f := range a.Files {
		if f.Name != "want" {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		}
	}
	return fsys
}

// TestProjects reads the projects of testdata/*.txtar and compares what was
// found with the file "want" of the same archive.
func TestProjects(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := describe(sourceOf(a))
			want := ""
			for _, f := range a.Files {
				if f.Name == "want" {
					want = string(f.Data)
				}
			}
			if *update {
				files := a.Files[:0]
				for _, f := range a.Files {
					if f.Name != "want" {
						files = append(files, f)
					}
				}
				a.Files = append(files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func describe(fsys fs.FS) string {
	var b strings.Builder
	roots, err := Manager{}.Detect(fsys)
	if err != nil {
		return fmt.Sprintf("detect: %s: %v\n", fault.KindOf(err), err)
	}
	for _, root := range roots {
		fmt.Fprintf(&b, "root %s\n", root)
		p, err := Manager{}.Load(fsys, root)
		if err != nil {
			fmt.Fprintf(&b, "  error %s: %v\n", fault.KindOf(err), err)
			continue
		}
		for _, pkg := range p.Packages {
			fmt.Fprintf(&b, "  %s\n", describePackage(pkg))
		}
		for _, pr := range p.Problems {
			fmt.Fprintf(&b, "  problem: %s\n", pr)
		}
		for k, v := range p.Settings {
			fmt.Fprintf(&b, "  setting %s=%s\n", k, v)
		}
		for _, s := range ecosystem.InstallScripts(p) {
			fmt.Fprintf(&b, "  scripts %s\n", s.PURL)
		}
	}
	return b.String()
}

func describePackage(p ecosystem.Package) string {
	words := []string{p.Path, p.Name + "@" + p.Version, p.PURL, p.Integrity}
	for _, flag := range []struct {
		on   bool
		word string
	}{{p.Link, "link"}, {p.Optional, "optional"}, {p.Dev, "dev"}, {p.Bundled, "bundled"}, {p.Foreign, "foreign"}, {p.HasScripts, "scripts"}} {
		if flag.on {
			words = append(words, flag.word)
		}
	}
	for _, l := range [][]string{p.OS, p.CPU, p.Libc} {
		if len(l) > 0 {
			words = append(words, strings.Join(l, ","))
		}
	}
	return strings.Join(words, " ")
}

func TestLoadLimits(t *testing.T) {
	manifest := &fstest.MapFile{Data: []byte(`{}`)}
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	var many strings.Builder
	for i := range MaxPackages + 1 {
		fmt.Fprintf(&many, `"node_modules/p%d":{},`, i)
	}
	for name, tt := range map[string]struct {
		lock string
		kind fault.Kind
	}{
		"too deep":         {deep, fault.Invalid},
		"too many entries": {`{"lockfileVersion":3,"packages":{` + strings.TrimSuffix(many.String(), ",") + `}}`, fault.TooLarge},
		"too large":        {strings.Repeat(" ", MaxLockfile+1), fault.TooLarge},
		"not an object":    {`[]`, fault.Invalid},
		"null":             {`null`, fault.Invalid},
		"empty":            {``, fault.Invalid},
		"version a string": {`{"lockfileVersion":"3","packages":{}}`, fault.Invalid},
		"packages a list":  {`{"lockfileVersion":3,"packages":[]}`, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{"package.json": manifest, "package-lock.json": {Data: []byte(tt.lock)}}
			_, err := Manager{}.Load(fsys, ".")
			if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), "package-lock.json") {
				t.Errorf("Load: %v (%v), want %v that names the file", err, fault.KindOf(err), tt.kind)
			}
		})
	}
}

func TestHostileKeys(t *testing.T) {
	for _, key := range []string{
		"node_modules/../../x", "/etc/passwd", "node_modules/a/", "./node_modules/a", "node_modules//a", "../../x", "..",
		`node_modules\\a`, "node_modules/a\\u0000b", "node_modules/.bin", "node_modules/a/node_modules/@scope", "node_modules/@s/a/b",
		"node_modules/node_modules", "node_modules/" + strings.Repeat("a", 300),
	} {
		lock := `{"lockfileVersion":3,"packages":{"` + key + `":{"version":"1.0.0","resolved":"x","link":false}}}`
		_, err := Manager{}.Load(fstest.MapFS{"package.json": {Data: []byte(`{}`)}, "package-lock.json": {Data: []byte(lock)}}, ".")
		if fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("key %.60q: %v, want it invalid", key, err)
		}
	}
	link := `{"lockfileVersion":3,"packages":{"node_modules/a":{"link":true,"resolved":"../../etc"}}}`
	if _, err := (Manager{}).Load(fstest.MapFS{"package.json": {Data: []byte(`{}`)}, "package-lock.json": {Data: []byte(link)}}, "."); err == nil {
		t.Error("a link out of the source was accepted")
	}
}

func TestPURL(t *testing.T) {
	for name, want := range map[string]string{
		"left-pad":    "pkg:npm/left-pad@1.0.0",
		"@scope/name": "pkg:npm/%40scope/name@1.0.0",
	} {
		if got := node.PURL(name, "1.0.0"); got != want {
			t.Errorf("node.PURL(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestMatchWorkspace(t *testing.T) {
	for _, tt := range []struct {
		patterns []string
		dir      string
		want     bool
	}{
		{[]string{"packages/*"}, "packages/a", true},
		{[]string{"packages/*"}, "packages/a/b", false},
		{[]string{"./packages/*/"}, "packages/a", true},
		{[]string{"packages/**"}, "packages/a/b", true},
		{[]string{"**/lib"}, "a/b/lib", true},
		{[]string{"packages/*", "!packages/a"}, "packages/a", false},
		{[]string{"{apps,libs}/*"}, "libs/x", true},
		{[]string{"../*"}, "a", true}, // Clean keeps it inside; npm would find nothing there
		{[]string{"[a-"}, "a", false},
		{[]string{strings.Repeat("**/", 80) + "x"}, strings.Repeat("a/", 500) + "y", false},
	} {
		if got := node.MatchWorkspace(tt.patterns, tt.dir); got != tt.want {
			t.Errorf("MatchWorkspace(%.40q, %.40q) = %v, want %v", tt.patterns, tt.dir, got, tt.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"a":1}`), []byte(`{"lockfileVersion":3,"packages":{"":{},"node_modules/a":{"version":"1.0.0"}}}`))
	f.Add([]byte(`{"workspaces":["p/*"],"dependencies":{"a":"1"}}`), []byte(`{"lockfileVersion":2,"packages":{"p/a":{},"node_modules/a":{"link":true,"resolved":"p/a"}}}`))
	f.Add([]byte(`{}`), []byte(`{"lockfileVersion":3,"packages":{"node_modules/@s/b":{"version":"1.0.0","resolved":"https://r.example.com/@s/b/-/b-1.0.0.tgz","integrity":"sha512-x","os":["!win32"]}}}`))
	f.Fuzz(func(t *testing.T, manifest, lock []byte) {
		fsys := fstest.MapFS{"package.json": {Data: manifest}, "package-lock.json": {Data: lock}}
		p, err := Manager{}.Load(fsys, ".")
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.TooLarge {
				t.Errorf("kind %v: %v", k, err)
			}
			return
		}
		for _, pkg := range p.Packages {
			if !filepath.IsLocal(pkg.Path) {
				t.Errorf("path %q leaves the project", pkg.Path)
			}
			if !pkg.Link && !node.ValidName(pkg.Name) {
				t.Errorf("name %q", pkg.Name)
			}
		}
	})
}

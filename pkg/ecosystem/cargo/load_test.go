package cargo_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/cargo"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func source(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

const lock = `version = 4
[[package]]
name = "app"
version = "0.1.0"
dependencies = ["b 1.0.0", "b 2.0.0"]
[[package]]
name = "b"
version = "2.0.0"
source = "registry+https://index.example.com/crates"
checksum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
[[package]]
name = "b"
version = "1.0.0"
source = "registry+https://index.example.com/crates"
checksum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee"
`

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing":    {map[string]string{"README.md": ""}, nil},
		"a member":   {map[string]string{"Cargo.toml": "", "Cargo.lock": "", "member/Cargo.toml": "[dependencies]"}, []string{"."}},
		"two":        {map[string]string{"a/Cargo.toml": "", "a/Cargo.lock": "", "b/c/Cargo.toml": "", "b/c/Cargo.lock": ""}, []string{"a", "b/c"}},
		"unlocked":   {map[string]string{"Cargo.toml": "[dependencies]", "x/Cargo.toml": "[dependencies]"}, []string{"."}},
		"needs none": {map[string]string{"Cargo.toml": "[package]"}, nil},
	} {
		if got, err := (cargo.Manager{}).Detect(source(c.files)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct {
		lock    string
		want    []string
		problem string
	}{
		"two versions":   {lock, []string{"pkg:cargo/b@1.0.0", "pkg:cargo/b@2.0.0"}, ""},
		"empty":          {"version = 3\n", nil, ""},
		"git":            {"[[package]]\nname = \"g\"\nversion = \"1.0.0\"\nsource = \"git+https://forge.example.com/g#abc\"\n", []string{"pkg:cargo/g@1.0.0?vcs_url=git%2Bhttps:%2F%2Fforge.example.com%2Fg%23abc"}, "does not come from a registry"},
		"no checksum":    {"[[package]]\nname = \"g\"\nversion = \"1.0.0\"\nsource = \"sparse+https://index.example.com/\"\n", []string{"pkg:cargo/g@1.0.0"}, "has no checksum"},
		"version 1":      {"[[package]]\nname = \"g\"\nversion = \"1.0.0\"\nsource = \"registry+https://i.example.com\"\n[metadata]\n\"checksum g 1.0.0 (registry+https://i.example.com)\" = \"" + strings.Repeat("0", 64) + "\"\n", []string{"pkg:cargo/g@1.0.0"}, ""},
		"two registries": {strings.Replace(lock, "index.example.com", "other.example.com", 1), []string{"pkg:cargo/b@1.0.0", "pkg:cargo/b@2.0.0"}, "2 registries"},
	} {
		p, err := cargo.Manager{}.Load(source(map[string]string{"Cargo.toml": "", "Cargo.lock": c.lock}), ".")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, pkg := range p.Packages {
			got = append(got, pkg.PURL)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
		if all := strings.Join(p.Problems, "\n"); (c.problem == "") != (all == "") || !strings.Contains(all, c.problem) {
			t.Errorf("%s: problems %q", name, all)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no lockfile":    {"Cargo.toml": "[dependencies]"},
		"no TOML":        {"Cargo.lock": "]"},
		"a later format": {"Cargo.lock": "version = 99"},
		"no list":        {"Cargo.lock": "package = 1"},
		"a bad name":     {"Cargo.lock": "[[package]]\nname = \"../x\"\nversion = \"1.0.0\""},
		"a bad version":  {"Cargo.lock": "[[package]]\nname = \"x\"\nversion = \"1\""},
		"a bad checksum": {"Cargo.lock": "[[package]]\nname = \"x\"\nversion = \"1.0.0\"\nsource=\"registry+x\"\nchecksum = \"00\""},
	} {
		if p, err := (cargo.Manager{}).Load(source(files), "."); err == nil || fault.Retryable(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestPlace(t *testing.T) {
	p, err := cargo.Manager{}.Load(source(map[string]string{"Cargo.lock": lock}), ".")
	if err != nil {
		t.Fatal(err)
	}
	s := ecosystem.Setting{Work: "/builds/project", Home: "/root"}
	exe := "/builds/project/target/debug/build/b-0123456789abcdef/build-script-build"
	so := "b=/builds/project/target/debug/deps/libb-0123456789abcdef.so"
	for name, c := range map[string]struct {
		e    ecosystem.Exec
		want string // purl and script, "" for none
	}{
		"of two versions":     {ecosystem.Exec{Path: exe, Cwd: "/root/.cache/crates/b-1.0.0"}, "pkg:cargo/b@1.0.0 build.rs"},
		"which version":       {ecosystem.Exec{Path: exe, Cwd: "/root/.cache/crates/b"}, "pkg:cargo/b build.rs"},
		"the project's":       {ecosystem.Exec{Path: exe, Cwd: "/builds/project/b"}, " build.rs"},
		"elsewhere":           {ecosystem.Exec{Path: "/tmp/target/debug/build/b-0123456789abcdef/build-script-build", Cwd: "/root/.cache/crates/b-1.0.0"}, ""},
		"a compiler":          {ecosystem.Exec{Path: "/usr/bin/rustc", Argv: []string{"rustc", "--crate-name", "b", "--extern", "c=/x/libc-0123456789abcdef.rmeta"}}, ""},
		"a macro of many":     {ecosystem.Exec{Argv: []string{"rustc", "--extern", so, "--extern", "c=/x/libc-0123456789abcdef.so"}}, ""},
		"a macro of no crate": {ecosystem.Exec{Argv: []string{"rustc", "--extern", "c=/x/libc-0123456789abcdef.so"}}, ""},
		"a macro":             {ecosystem.Exec{Argv: []string{"rustc", "--extern", "noprelude:" + so}}, "pkg:cargo/b proc-macro"},
		"nothing":             {ecosystem.Exec{}, ""},
	} {
		place, ok := cargo.Manager{}.Place(p, s, c.e)
		if got := place.Package.PURL + " " + place.Script; ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(lock)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := cargo.Manager{}.Load(source(map[string]string{"Cargo.lock": text}), ".")
		if err != nil && fault.Retryable(err) {
			t.Errorf("a fault of the source is taken for one of ours: %v", err)
		}
		for _, pkg := range p.Packages {
			if strings.ContainsAny(pkg.Name, "/ \n") || !strings.HasPrefix(pkg.PURL, "pkg:cargo/"+pkg.Name+"@") {
				t.Errorf("package %+v", pkg)
			}
		}
	})
}

package cargo_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/cargo"
)

// seen is what a process of a crate tells about itself.
type seen struct {
	Who  string
	Exe  string
	Cwd  string
	Argv []string
}

// tell makes Rust code say in a file who runs it: fields are ended by \0, a
// report by \n.
const tell = `
fn tell(who: &str) {
    use std::io::Write;
    let argv = std::fs::read("/proc/self/cmdline").unwrap();
    let exe = std::env::current_exe().unwrap();
    let cwd = std::env::current_dir().unwrap();
    let mut line = format!("{}\0{}\0{}\0", who, exe.display(), cwd.display()).into_bytes();
    line.extend(argv);
    line.push(b'\n');
    std::fs::OpenOptions::new().append(true).create(true).open(std::env::var("TOLD").unwrap()).unwrap().write_all(&line).unwrap();
}
`

// write makes files, with their folders.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// checksum is what cargo vendor leaves in each crate's folder.
func checksum(t *testing.T, digit string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"files": map[string]string{}, "package": strings.Repeat(digit, 64)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The machine's own cargo builds what the recipe says from vendored crates, and
// each of the crates' processes has its place.
func TestBuild(t *testing.T) {
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("no cargo on this machine: the recipe is not tried")
	}
	top := t.TempDir()
	work, home, told := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "told")
	write(t, filepath.Join(home, cargo.CacheDir), map[string]string{
		"acme-build/Cargo.toml":           "[package]\nname = \"acme-build\"\nversion = \"1.2.0\"\nedition = \"2021\"\n",
		"acme-build/build.rs":             tell + "fn main() { tell(\"build\"); }",
		"acme-build/src/lib.rs":           "pub fn answer() -> u8 { 42 }",
		"acme-build/.cargo-checksum.json": checksum(t, "a"),
		"acme-derive/Cargo.toml":          "[package]\nname = \"acme-derive\"\nversion = \"0.3.1\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
		"acme-derive/src/lib.rs": "extern crate proc_macro;\nuse proc_macro::TokenStream;\n" + tell +
			"#[proc_macro]\npub fn nothing(_: TokenStream) -> TokenStream { tell(\"macro\"); TokenStream::new() }",
		"acme-derive/.cargo-checksum.json": checksum(t, "b"),
	})
	write(t, work, map[string]string{
		"Cargo.toml":  "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nacme-build = \"1\"\nacme-derive = \"0.3\"\n",
		"build.rs":    tell + "fn main() { tell(\"own\"); }",
		"src/main.rs": "acme_derive::nothing!();\nfn main() { println!(\"{}\", acme_build::answer()); }",
	})
	s := ecosystem.Setting{Home: home, Work: work}
	r := cargo.Manager{}.Recipe(ecosystem.Project{}, s)
	run := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "cargo", args...)
		cmd.Dir = work
		cmd.Env = append(slices.Clone(r.Env), "PATH="+os.Getenv("PATH"), "TOLD="+told)
		if rustup := filepath.Join(os.Getenv("HOME"), ".rustup"); os.Getenv("RUSTUP_HOME") == "" {
			cmd.Env = append(cmd.Env, "RUSTUP_HOME="+rustup)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cargo %q: %v\n%s", args, err, out)
		}
	}
	run(slices.Concat([]string{"generate-lockfile", "--offline"}, r.Argv[slices.Index(r.Argv, "--config"):])...)
	p, err := cargo.Manager{}.Load(os.DirFS(work), ".")
	if err != nil || len(p.Problems) > 0 || len(p.Packages) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	run(r.Argv[1:]...)
	b, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"build": "pkg:cargo/acme-build@1.2.0 build.rs", "macro": "pkg:cargo/acme-derive@0.3.1 proc-macro", "own": " build.rs"}
	heard := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\x00")
		e := seen{Who: f[0], Exe: f[1], Cwd: f[2], Argv: f[3 : len(f)-1]}
		place, ok := cargo.Manager{}.Place(p, s, ecosystem.Exec{Path: e.Exe, Argv: e.Argv, Cwd: e.Cwd})
		if got := place.Package.PURL + " " + place.Script; !ok || got != places[e.Who] {
			t.Errorf("%+v is placed at %q, %v", e, got, ok)
		}
		heard[e.Who] = true
	}
	if len(heard) != len(places) {
		t.Errorf("heard of %v", heard)
	}
}

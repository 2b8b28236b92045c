package bundler_test

import (
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
	"github.com/falconer-sec/falconer/pkg/ecosystem/bundler"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func source(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

const lock = `GIT
  remote: https://forge.example.com/g.git
  revision: 0123456789abcdef0123456789abcdef01234567
  branch: main
  specs:
    g (0.1.0)
      acme-lib (>= 1)

PATH
  remote: engines/own
  specs:
    own (0.0.1)

GEM
  remote: https://gems.example.com/
  specs:
    acme-ext (1.0.0-x86_64-linux)
    acme-ext (1.0.0)
      acme-lib (~> 2.0)
    acme-lib (2.0.0)

PLATFORMS
  ruby
  x86_64-linux

DEPENDENCIES
  acme-ext
  g!
  own!

CHECKSUMS
  acme-ext (1.0.0) sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  acme-ext (1.0.0-x86_64-linux) sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee
  g (0.1.0)

RUBY VERSION
   ruby 3.1.2p20

BUNDLED WITH
   2.6.1
`

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing":  {map[string]string{"x.gemspec": ""}, nil},
		"nested":   {map[string]string{"Gemfile": "", "Gemfile.lock": "", "a/gems.rb": "", "a/gems.locked": ""}, []string{".", "a"}},
		"unlocked": {map[string]string{"Gemfile": "gem 'x'", "a/Gemfile": "gem 'y'"}, []string{"."}},
		"empty":    {map[string]string{"Gemfile": "# none"}, nil},
	} {
		if got, err := (bundler.Manager{}).Detect(source(c.files)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestLoad(t *testing.T) {
	p, err := bundler.Manager{}.Load(source(map[string]string{"Gemfile.lock": lock}), ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pkg := range p.Packages {
		line := pkg.PURL
		if pkg.Integrity != "" {
			line += " +"
		}
		got = append(got, line)
	}
	want := []string{"pkg:gem/acme-ext@1.0.0 +", "pkg:gem/acme-ext@1.0.0?platform=x86_64-linux +", "pkg:gem/acme-lib@2.0.0", "pkg:gem/g@0.1.0?vcs_url=https:%2F%2Fforge.example.com%2Fg.git"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(p.Problems) != 2 || !strings.Contains(p.Problems[0], "g 0.1.0 comes from git") || !strings.Contains(p.Problems[1], "acme-lib 2.0.0 has no checksum") {
		t.Errorf("problems %q", p.Problems)
	}
	before, _, _ := strings.Cut(lock, "CHECKSUMS")
	_, after, _ := strings.Cut(before, "PATH")
	if p, err := (bundler.Manager{}).Load(source(map[string]string{"Gemfile.lock": "PATH" + after}), "."); err != nil || len(p.Problems) > 0 {
		t.Errorf("without checksums: %q, %v", p.Problems, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a conflict":          "GEM\n  remote: x\n  specs:\n<<<<<<< HEAD\n    a (1)\n",
		"no section":          "  remote: x\n",
		"a gem without specs": "GEM\n    a (1.0)\n",
		"a bad name":          "GEM\n  specs:\n    ../a (1.0)\n",
		"a bad checksum":      "CHECKSUMS\n  a (1) sha256=00\n",
		"tabs":                "GEM\n\tspecs:\n",
		"not UTF-8":           "GEM\n  specs:\n    a\xff (1)\n",
		"a long version":      "GEM\n  specs:\n    a (1" + strings.Repeat("0", 300) + ")\n",
	} {
		if p, err := (bundler.Manager{}).Load(source(map[string]string{"Gemfile.lock": text}), "."); err == nil || fault.Retryable(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := (bundler.Manager{}).Load(source(map[string]string{"Gemfile": "gem 'x'"}), "."); fault.KindOf(err) != fault.Invalid {
		t.Errorf("without a lockfile: %v", err)
	}
}

func TestPlace(t *testing.T) {
	p, err := bundler.Manager{}.Load(source(map[string]string{"Gemfile.lock": lock}), ".")
	if err != nil {
		t.Fatal(err)
	}
	s := ecosystem.Setting{Home: "/root", Work: "/builds/project"}
	ruby := []string{"/usr/bin/ruby3.1", "-I", "/usr/lib/ruby/vendor_ruby", "-r", "./siteconf2026-1-x.rb", "extconf.rb"}
	for name, c := range map[string]struct {
		argv []string
		cwd  string
		want string
	}{
		"extconf":       {ruby, "/root/.local/share/bundle/ruby/3.1.0/gems/acme-ext-1.0.0/ext/acme_ext", "pkg:gem/acme-ext@1.0.0 extconf.rb"},
		"of a platform": {[]string{"make", "DESTDIR="}, "/root/.local/share/bundle/ruby/3.1.0/gems/acme-lib-2.0.0-java/ext", "pkg:gem/acme-lib@2.0.0 make"},
		"of no gem":     {ruby, "/root/.local/share/bundle/ruby/3.1.0/gems/other-1.0/ext", ""},
		"elsewhere":     {ruby, "/builds/project/gems/acme-ext-1.0.0", ""},
		"the folder":    {ruby, "/root/.local/share/bundle/ruby/3.1.0/gems", ""},
		"nothing":       {nil, "/root/.local/share/bundle/ruby/3.1.0/gems/acme-ext-1.0.0", ""},
	} {
		place, ok := bundler.Manager{}.Place(p, s, ecosystem.Exec{Argv: c.argv, Cwd: c.cwd})
		if got := place.Package.PURL + " " + place.Script; ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

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

// The machine's own Bundler installs and loads what the recipe says.
func TestInstall(t *testing.T) {
	for _, program := range []string{"ruby", "gem", "bundle"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s on this machine: the recipe is not tried", program)
		}
	}
	top := t.TempDir()
	work, home, told := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "told")
	tell := `File.open(ENV.fetch("TOLD"), "a") { |f| f.puts ["%s", Dir.pwd, *File.read("/proc/self/cmdline").split("\0").map { |a| a.lines.first.to_s.chomp }].join("\0") }` + "\n"
	say := func(who string) string { return strings.Replace(tell, "%s", who, 1) }
	write(t, top, map[string]string{
		"ext/acme-ext.gemspec":       "Gem::Specification.new { |s| s.name = 'acme-ext'; s.version = '1.0.0'; s.summary = s.author = 'x'; s.files = Dir['{lib,ext}/**/*']; s.extensions = ['ext/acme/extconf.rb'] }",
		"ext/ext/acme/extconf.rb":    say("ext") + "File.write('Makefile', \"all:\\n\\ninstall:\\n\\nclean:\\n\\n\")\n",
		"ext/lib/acme/ext.rb":        say("load"),
		"lib/acme-lib.gemspec":       "Gem::Specification.new { |s| s.name = 'acme-lib'; s.version = '2.0.0'; s.summary = s.author = 'x'; s.files = Dir['lib/**/*'] }",
		"lib/lib/rubygems_plugin.rb": say("plugin"),
		"lib/lib/acme_lib.rb":        "raise 'broken'\n",
		"work/Gemfile":               "source 'https://gems.example.com'\ngem 'acme-ext'\ngem 'acme-lib'\n",
		"work/Gemfile.lock":          "GEM\n  remote: https://gems.example.com/\n  specs:\n    acme-ext (1.0.0)\n    acme-lib (2.0.0)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  acme-ext\n  acme-lib\n",
	})
	gems := filepath.Join(home, bundler.CacheDir)
	if err := os.MkdirAll(gems, 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "TOLD=" + told, "HOME=" + home}
	run := func(dir string, env []string, argv ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%.60q: %v\n%s", argv, err, out)
		}
	}
	run(filepath.Join(top, "ext"), env, "gem", "build", "acme-ext.gemspec", "-o", filepath.Join(gems, "acme-ext-1.0.0.gem"))
	run(filepath.Join(top, "lib"), env, "gem", "build", "acme-lib.gemspec", "-o", filepath.Join(gems, "acme-lib-2.0.0.gem"))
	p, err := bundler.Manager{}.Load(os.DirFS(work), ".")
	if err != nil || len(p.Problems) > 0 || len(p.Packages) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	s := ecosystem.Setting{Home: home, Work: work, Import: true}
	r := bundler.Manager{}.Recipe(p, s)
	run(work, slices.Concat(env, r.Env), r.Argv...)
	if len(r.Steps) != 1 {
		t.Fatalf("%d steps", len(r.Steps))
	}
	run(work, slices.Concat(env, r.Env), r.Steps[0].Argv...)
	b, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	heard := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "\x00")
		heard[f[0]] = true
		place, ok := bundler.Manager{}.Place(p, s, ecosystem.Exec{Cwd: f[1], Argv: f[2:]})
		if f[0] == "ext" && (!ok || place.Package.PURL != "pkg:gem/acme-ext@1.0.0" || place.Script != "extconf.rb") {
			t.Errorf("%q is placed at %+v, %v", f, place, ok)
		}
	}
	for _, who := range []string{"ext", "load", "plugin"} {
		if !heard[who] {
			t.Errorf("%s did not run", who)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(lock)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := bundler.Manager{}.Load(source(map[string]string{"Gemfile.lock": text}), ".")
		if err != nil && fault.Retryable(err) {
			t.Errorf("a fault of the source is taken for one of ours: %v", err)
		}
		for _, pkg := range p.Packages {
			if strings.ContainsAny(pkg.Name+pkg.Version, "/ \n") || !strings.HasPrefix(pkg.PURL, "pkg:gem/"+pkg.Name+"@") {
				t.Errorf("package %+v", pkg)
			}
		}
	})
}

package composer_test

import (
	"archive/zip"
	"context"
	"crypto/sha1" //nolint:gosec // Composer's cache goes by it
	"encoding/hex"
	"encoding/json"
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
	"github.com/falconer-sec/falconer/pkg/ecosystem/composer"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func source(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

const lock = `{"content-hash": "x", "packages": [
 {"name": "acme/plugin", "version": "v2.0.0", "type": "composer-plugin", "dist": {"type": "zip", "url": "https://files.example.com/p.zip", "shasum": ""}},
 {"name": "acme/lib", "version": "1.0.0", "type": "library", "dist": {"type": "zip", "url": "https://files.example.com/l.zip", "shasum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}},
 {"name": "acme/meta", "version": "1.0.0", "type": "metapackage"},
 {"name": "own/module", "version": "dev-main", "dist": {"type": "path", "url": "modules/own"}}],
"packages-dev": [{"name": "acme/source", "version": "dev-feature/x", "source": {"type": "git", "url": "https://forge.example.com/s.git"}}]}`

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing":    {map[string]string{"a.php": ""}, nil},
		"nested":     {map[string]string{"composer.json": "{}", "composer.lock": "{}", "a/composer.json": "{}", "a/composer.lock": "{}", "vendor/x/y/composer.json": "{}", "vendor/x/y/composer.lock": "{}"}, []string{".", "a"}},
		"unlocked":   {map[string]string{"composer.json": `{"require":{"a/b":"1"}}`, "x/composer.json": `{"require":{"a/b":"1"}}`}, []string{"."}},
		"needs none": {map[string]string{"composer.json": `{"require":{}}`}, nil},
		"unreadable": {map[string]string{"composer.json": `{`}, []string{"."}},
	} {
		if got, err := (composer.Manager{}).Detect(source(c.files)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestLoad(t *testing.T) {
	p, err := composer.Manager{}.Load(source(map[string]string{"composer.lock": lock}), ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pkg := range p.Packages {
		line := pkg.PURL + " " + pkg.Integrity
		if pkg.HasScripts {
			line += "plugin"
		}
		got = append(got, line)
	}
	want := []string{"pkg:composer/acme/lib@1.0.0 sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "pkg:composer/acme/meta@1.0.0 ", "pkg:composer/acme/plugin@v2.0.0 plugin", "pkg:composer/acme/source@dev-feature%2Fx "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "acme/source dev-feature/x has no archive") {
		t.Errorf("problems %q", p.Problems)
	}
	r := composer.Manager{}.Recipe(p, ecosystem.Setting{Home: "/root", Work: "/builds/project"})
	if len(r.Steps) != 1 || len(r.Steps[0].Packages) != 1 || r.Steps[0].Phase != "install" {
		t.Errorf("steps %+v", r.Steps)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":         "{",
		"null":            "null",
		"no list":         `{"packages": {}}`,
		"no package":      `{"packages": [1]}`,
		"a bad name":      `{"packages": [{"name": "../x", "version": "1"}]}`,
		"another key":     `{"packages": [{"Name": "a/b", "version": "1"}]}`,
		"a bad version":   `{"packages": [{"name": "a/b", "version": "1 2"}]}`,
		"a bad checksum":  `{"packages": [{"name": "a/b", "version": "1", "dist": {"type": "zip", "shasum": "00"}}]}`,
		"a nested bomb":   strings.Repeat("[", 1_000_000),
		"a deep lockfile": `{"packages": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
	} {
		if p, err := (composer.Manager{}).Load(source(map[string]string{"composer.lock": text}), "."); err == nil || fault.Retryable(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := (composer.Manager{}).Load(source(nil), "."); fault.KindOf(err) != fault.Invalid {
		t.Errorf("without a lockfile: %v", err)
	}
}

// archive puts a package into Composer's cache, under its address.
func archive(t *testing.T, cache, name, url string, files map[string]string) {
	t.Helper()
	sum := sha1.Sum([]byte(url)) //nolint:gosec // see above
	at := filepath.Join(cache, "files", name, hex.EncodeToString(sum[:])+".zip")
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for name, text := range files {
		e, err := w.Create(name)
		if err == nil {
			_, err = e.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// The machine's own Composer installs from a cache what the recipe says, and
// the steps run plugins, the project's scripts and the packages' files.
func TestInstall(t *testing.T) {
	for _, program := range []string{"php", "composer", "unzip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s on this machine: the recipe is not tried", program)
		}
	}
	top := t.TempDir()
	work, home, told := filepath.Join(top, "work"), filepath.Join(top, "home"), filepath.Join(top, "told")
	cache := filepath.Join(home, composer.CacheDir)
	tell := func(who string) string { return `file_put_contents(getenv("TOLD"), "` + who + `\n", FILE_APPEND);` }
	archive(t, cache, "acme/lib", "https://files.example.com/l.zip", map[string]string{"composer.json": `{"name": "acme/lib"}`, "boot.php": "<?php " + tell("boot")})
	archive(t, cache, "acme/plugin", "https://files.example.com/p.zip", map[string]string{"composer.json": `{"name": "acme/plugin"}`,
		"src/Plugin.php": `<?php namespace Acme; class Plugin implements \Composer\Plugin\PluginInterface {
 function activate(\Composer\Composer $c, \Composer\IO\IOInterface $io) { ` + tell("plugin") + ` }
 function deactivate(\Composer\Composer $c, \Composer\IO\IOInterface $io) {} function uninstall(\Composer\Composer $c, \Composer\IO\IOInterface $io) {} }`})
	locked, err := json.Marshal(map[string]any{"packages": []any{
		map[string]any{"name": "acme/lib", "version": "1.0.0", "type": "library", "autoload": map[string]any{"files": []string{"boot.php"}}, "dist": map[string]string{"type": "zip", "url": "https://files.example.com/l.zip", "reference": "", "shasum": ""}},
		map[string]any{"name": "acme/plugin", "version": "2.0.0", "type": "composer-plugin", "require": map[string]string{"composer-plugin-api": "^2.0"}, "extra": map[string]string{"class": `Acme\Plugin`}, "autoload": map[string]any{"psr-4": map[string]string{`Acme\`: "src/"}}, "dist": map[string]string{"type": "zip", "url": "https://files.example.com/p.zip", "reference": "", "shasum": ""}},
	}, "packages-dev": []any{}, "aliases": []any{}, "minimum-stability": "stable", "stability-flags": map[string]int{}, "platform": map[string]string{}, "platform-dev": map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := `{"require": {"acme/lib": "1.0.0", "acme/plugin": "2.0.0"}, "config": {"allow-plugins": {"acme/plugin": true}}, "scripts": {"post-install-cmd": ["echo own >> $TOLD"]}}`
	for name, text := range map[string]string{"composer.json": manifest, "composer.lock": string(locked)} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := composer.Manager{}.Load(os.DirFS(work), ".")
	if err != nil || len(p.Problems) > 0 || len(p.Packages) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	r := composer.Manager{}.Recipe(p, ecosystem.Setting{Home: home, Work: work, Import: true})
	for i, argv := range slices.Concat([][]string{r.Argv}, [][]string{r.Steps[0].Argv, r.Steps[1].Argv}) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = work, append(slices.Clone(r.Env), "PATH="+os.Getenv("PATH"), "TOLD="+told, "TMPDIR="+top)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%.60q: %v\n%s", argv, err, out)
		}
		b, _ := os.ReadFile(told) // none before the first step
		heard := strings.Join(slices.Compact(strings.Fields(string(b))), " ")
		if want := []string{"", "plugin own", "plugin own boot"}[i]; heard != want {
			t.Fatalf("after %d steps these ran: %q, want %q\n%s", i, heard, want, out)
		}
	}
	if b, err := os.ReadFile(filepath.Join(work, "composer.json")); err != nil || string(b) != manifest {
		t.Errorf("the manifest is left as %s, %v", b, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(lock)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := composer.Manager{}.Load(source(map[string]string{"composer.lock": text}), ".")
		if err != nil && fault.Retryable(err) {
			t.Errorf("a fault of the source is taken for one of ours: %v", err)
		}
		for _, pkg := range p.Packages {
			if strings.Contains(pkg.Name, "..") || strings.ContainsAny(pkg.Name+pkg.Version, " \n") || !strings.HasPrefix(pkg.PURL, "pkg:composer/"+pkg.Name+"@") {
				t.Errorf("package %+v", pkg)
			}
		}
	})
}

package registry_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/pack"
	"github.com/falconer-sec/falconer/pkg/registry"
)

// witness is a script that tells all it sees: its own start, npm's, and every
// file of the project with mode and content.
const witness = `
const fs = require('fs'), path = require('path'), crypto = require('crypto')
const tree = {}
const walk = dir => { for (const e of fs.readdirSync(dir, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1)) {
  const at = path.join(dir, e.name), s = fs.lstatSync(at)
  tree[at] = [s.mode.toString(8), e.isFile() ? crypto.createHash('sha256').update(fs.readFileSync(at)).digest('hex') : e.isSymbolicLink() ? fs.readlinkSync(at) : '']
  if (e.isDirectory()) walk(at)
} }
walk(process.env.WITNESS_ROOT)
walk(process.env.HOME + '/.npm/_cacache/content-v2')
const shell = fs.readFileSync('/proc/' + process.ppid + '/stat', 'utf8').split(' ')[3]
const env = { ...process.env }; delete env.PWD
const npm = fs.readFileSync('/proc/' + shell + '/cmdline', 'utf8').replace(/\0+$/, '')
fs.appendFileSync(process.env.WITNESS, JSON.stringify({ argv: process.argv, execArgv: process.execArgv, cwd: process.cwd(), umask: process.umask(), npm, env, home: fs.readdirSync(process.env.HOME + '/.npm').sort(), tree }, null, 1) + '\n')
`

// everything is a registry with what a lockfile can hold.
const everything = `
-- a/package.json --
{"name": "a", "version": "1.0.0", "scripts": {"preinstall": "node w.js", "install": "node w.js", "postinstall": "node w.js"}, "dependencies": {"@acme/b": "^1.0.0"}}
-- a/w.js --
` + witness + `
-- a/.gitignore --
build
-- b1/package.json --
{"name": "@acme/b", "version": "1.0.0", "bin": {"b": "cli/b.js"}}
-- b1/cli/b.js --
#!/usr/bin/env node
console.log('b1')
-- b2/package.json --
{"name": "@acme/b", "version": "2.0.0", "bin": "dos.js", "scripts": {"install": "node $WITNESS_ROOT/w.js"}}
-- b2/dos.js --
#!/usr/bin/env node` + "\r" + `
console.log('b2')
-- box/package.json --
{"name": "box", "version": "1.0.0", "bundleDependencies": ["inner"], "dependencies": {"inner": "1.0.0", "@acme/b": "^1.0.0"}}
-- box/node_modules/inner/package.json --
{"name": "inner", "version": "1.0.0", "scripts": {"postinstall": "echo inner"}}
-- inner/package.json --
{"name": "inner", "version": "1.0.0"}
-- fails/package.json --
{"name": "fails", "version": "1.0.0", "scripts": {"install": "exit 7"}}
-- mac/package.json --
{"name": "only-mac", "version": "1.0.0", "os": ["darwin"]}
-- old/package.json --
{"name": "only-old", "version": "1.0.0", "engines": {"node": "0.1"}}
-- mid/package.json --
{"name": "mid", "version": "1.0.0", "dependencies": {"@acme/b": "^2.0.0"}}
-- deep/package.json --
{"name": "deep", "version": "1.0.0", "dependencies": {"@acme/b": "^1.0.0", "mid": "1.0.0"}}
`

const everythingManifest = `{"name": "project", "version": "0.0.0", "workspaces": ["packages/*"],
 "scripts": {"preinstall": "node w.js", "postinstall": "node w.js", "prepublish": "node w.js", "prepare": "node w.js", "dependencies": "node w.js"},
 "dependencies": {"a": "1.0.0", "box": "1.0.0", "deep": "1.0.0", "@acme/b": "1.0.0", "alias": "npm:@acme/b@2.0.0"},
 "optionalDependencies": {"only-mac": "1.0.0", "only-old": "1.0.0", "fails": "1.0.0"}}`

// TestUnpackedIsWhatNpmInstalls runs the real client twice, in the same places:
// alone, and over what Unpack prepared, with and without a pack of npm's own
// modules. The scripts must see the same.
func TestUnpackedIsWhatNpmInstalls(t *testing.T) {
	for _, addresses := range []string{"kept", "left out"} {
		t.Run("addresses "+addresses, func(t *testing.T) {
			_, address := publish(t, everything)
			dir := lockedProject(t, address, everythingManifest, map[string]string{
				"w.js": witness, "packages/member/package.json": `{"name": "member", "version": "1.0.0", "dependencies": {"@acme/b": "2.0.0"}, "scripts": {"install": "node ../../w.js", "prepare": "node ../../w.js"}}`,
			}, addresses == "kept")
			m := mirror(t, address, nil)
			p := load(t, dir)
			place := t.TempDir()
			modules, err := pack.Open(filepath.Join(t.TempDir(), "packs")).Modules(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			plain := observe(t, m, p, dir, place, false, nil)
			prepared := observe(t, m, p, dir, place, true, nil)
			packed := observe(t, m, p, dir, place, true, modules)
			if n := strings.Count(plain, `"argv"`); n < 9 {
				t.Fatalf("only %d scripts told what they saw:\n%s", n, plain)
			}
			if diff := cmp.Diff(plain, prepared); diff != "" {
				t.Errorf("scripts see something else (-npm ci, +prepared):\n%s", diff)
			}
			if diff := cmp.Diff(plain, packed); diff != "" {
				t.Errorf("scripts see something else (-npm ci, +prepared and packed):\n%s", diff)
			}
		})
	}
}

// lockedProject is project for another manifest and further files.
func lockedProject(t *testing.T, address, manifest string, files map[string]string, keepResolved bool) string {
	t.Helper()
	dir := t.TempDir()
	files["package.json"] = manifest
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	lock(t, dir, address, keepResolved)
	return dir
}

// observe installs the project in place and returns what the scripts saw.
func observe(t *testing.T, m *registry.Mirror, p ecosystem.Project, dir, place string, prepare bool, modules []byte) string {
	t.Helper()
	work, home, seen := filepath.Join(place, "work"), filepath.Join(place, "home"), filepath.Join(place, "seen")
	for _, old := range []string{work, home, seen} {
		if err := os.RemoveAll(old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	proxy := m.Proxy(p, registry.DefaultBase)
	if _, err := m.Prefetch(t.Context(), p, filepath.Join(home, npm.CacheDir), registry.DefaultBase); err != nil {
		t.Fatal(err)
	}
	s := ecosystem.Setting{Registry: registry.DefaultBase, Home: home, Work: work}
	sample := filepath.Join(work, "node_modules/@acme/b/cli/b.js")
	var before os.FileInfo
	if prepare {
		packages, err := m.Unpack(t.Context(), p, work)
		if err != nil {
			t.Fatal(err)
		}
		if len(packages) < 6 || slices.ContainsFunc(packages, func(p ecosystem.Prepared) bool { return strings.Contains(p.Path, "box/") }) {
			t.Fatalf("unpacked only %v", packages)
		}
		if err := (npm.Manager{}).Prepare(filepath.Join(home, npm.CacheDir), packages, modules); err != nil {
			t.Fatal(err)
		}
		s.Prepared = true
		if before, err = os.Stat(sample); err != nil {
			t.Fatal(err)
		}
	}
	r := npm.Manager{}.Recipe(p, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npmProgram(t), r.Argv[1:]...)
	cmd.Dir = work
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "WITNESS=" + seen, "WITNESS_ROOT=" + work}, r.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if _, unlisted := proxy.Fetches(); unlisted > 0 {
		t.Fatal("it asked the registry")
	}
	b, err := os.ReadFile(seen)
	if err != nil {
		t.Fatalf("no script ran: %v\n%s", err, out)
	}
	after, err := os.Stat(sample)
	if err != nil {
		t.Fatal(err)
	}
	if prepare && !os.SameFile(before, after) {
		t.Error("npm did not take over what was unpacked")
	}
	return string(b)
}

// TestUnpackLeavesToNpm holds what is not unpacked, and that nothing of it
// stays.
func TestUnpackLeavesToNpm(t *testing.T) {
	_, address := publish(t, everything)
	dir := lockedProject(t, address, everythingManifest, map[string]string{
		"w.js": witness, "packages/member/package.json": `{"name": "member", "version": "1.0.0", "dependencies": {"@acme/b": "2.0.0"}}`,
	}, true)
	whole := load(t, dir)
	m := mirror(t, address, nil)
	if _, err := m.Prefetch(t.Context(), whole, t.TempDir(), registry.DefaultBase); err != nil {
		t.Fatal(err)
	}
	const all = "node_modules/@acme/b node_modules/a node_modules/alias node_modules/box node_modules/deep node_modules/fails node_modules/mid node_modules/mid/node_modules/@acme/b node_modules/only-old packages/member/node_modules/@acme/b"
	for _, tt := range []struct {
		name   string
		change func(work string, p *ecosystem.Project)
		less   []string // of all
	}{
		{"nothing", func(string, *ecosystem.Project) {}, nil},
		{"a folder of the source", func(work string, _ *ecosystem.Project) {
			_ = os.Mkdir(filepath.Join(work, "packages/member/node_modules"), 0o755)
		},
			[]string{"packages/member/node_modules/@acme/b"}},
		{"a link in the way", func(work string, _ *ecosystem.Project) {
			_ = os.RemoveAll(filepath.Join(work, "packages/member"))
			_ = os.Mkdir(filepath.Join(work, "elsewhere"), 0o755)
			_ = os.Symlink("../elsewhere", filepath.Join(work, "packages/member"))
		}, []string{"packages/member/node_modules/@acme/b"}},
		{"another content, and what stands below", func(_ string, p *ecosystem.Project) {
			edit(p, "node_modules/mid", func(e *ecosystem.Package) { e.Integrity = "sha512-" + strings.Repeat("A", 86) + "==" })
		}, []string{"node_modules/mid", "node_modules/mid/node_modules/@acme/b"}},
		{"no integrity", func(_ string, p *ecosystem.Project) {
			edit(p, "node_modules/a", func(e *ecosystem.Package) { e.Integrity = "" })
		}, []string{"node_modules/a"}},
		{"not a registry's", func(_ string, p *ecosystem.Project) {
			edit(p, "node_modules/a", func(e *ecosystem.Package) { e.Foreign = true })
		}, []string{"node_modules/a"}},
		{"bundled ones beside others", func(_ string, p *ecosystem.Project) {
			edit(p, "node_modules/box/node_modules/inner", func(e *ecosystem.Package) { e.Bundled = false })
		}, []string{"node_modules/box"}},
		{"a path out of the project", func(_ string, p *ecosystem.Project) {
			edit(p, "node_modules/a", func(e *ecosystem.Package) { e.Path = "../node_modules/a" })
		}, []string{"node_modules/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			work := filepath.Join(t.TempDir(), "work")
			if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			p := whole
			p.Packages = slices.Clone(whole.Packages)
			tt.change(work, &p)
			packages, err := m.Unpack(t.Context(), p, work)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, one := range packages {
				got = append(got, one.Path)
			}
			want := slices.DeleteFunc(strings.Fields(all), func(at string) bool { return slices.Contains(tt.less, at) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("unpacked (-want, +got):\n%s", diff)
			}
			for _, at := range tt.less {
				if _, err := os.Lstat(filepath.Join(work, at)); err == nil {
					t.Errorf("%s stays behind", at)
				}
			}
		})
	}
}

// edit changes the entry of a path.
func edit(p *ecosystem.Project, at string, change func(*ecosystem.Package)) {
	for i := range p.Packages {
		if p.Packages[i].Path == at {
			change(&p.Packages[i])
		}
	}
}

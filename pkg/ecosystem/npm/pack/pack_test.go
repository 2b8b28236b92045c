package pack_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/pack"
)

// program is laid out like npm, and says who is who in it.
const program = `
-- npm/package.json --
{"name": "npm", "version": "1.0.0"}
-- npm/bin/npm-cli.js --
#!/usr/bin/env node
require('../lib/cli.js')
-- npm/lib/cli.js --
console.log('cli', module.parent.filename === require.main.filename, require.main.children.includes(module), __filename.endsWith('/npm/lib/cli.js'))
// optional: require('not-there')
require('a')
console.log(require('a') === require("../node_modules/a/main.js"), require.resolve('a').endsWith('/a/main.js'))
console.log(require('./' + 'computed'), require('./data'), require('node:path').sep)
console.log(require('inner'), require('./cjs.cjs'), require('b'), require('b/sub'))
try { require('broken') } catch (err) { console.log(err.message, err.stack.includes('broken/index.js:2')) }
try { require('nowhere') } catch (err) { console.log(err.code) }
import('esm').then(esm => console.log(esm.default))
-- npm/lib/computed.js --
module.exports = 'computed'
-- npm/lib/data.json --
{"json": "größer"}
-- npm/lib/cjs.cjs --
module.exports = 'cjs'
-- npm/node_modules/a/package.json --
{"name": "a", "main": "main.js"}
-- npm/node_modules/a/main.js --
exports.early = require('./circle').partial
-- npm/node_modules/a/circle.js --
exports.partial = Object.keys(require('./main')).length
-- npm/node_modules/a/node_modules/inner/index.js --
module.exports = 'the inner of a'
-- npm/node_modules/inner/index.js --
module.exports = 'inner ü'
-- npm/node_modules/b/package.json --
{"name": "b", "imports": {"#x": "./x/x.js"}, "exports": {".": {"import": "./no.mjs", "require": "./yes.js"}, "./sub": "./x/sub.js"}}
-- npm/node_modules/b/yes.js --
module.exports = 'required ' + require('#x') + require('b/sub')
-- npm/node_modules/b/x/x.js --
module.exports = 'x'
-- npm/node_modules/b/x/sub.js --
module.exports = 'sub'
-- npm/node_modules/broken/index.js --

throw new Error('broken')
-- npm/node_modules/esm/package.json --
{"name": "esm", "type": "module", "exports": "./index.js"}
-- npm/node_modules/esm/index.js --
export default 'esm'
`

// install puts the program on the PATH, and returns its folder.
func install(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is needed: ", err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse([]byte(program)).Files {
		write(t, filepath.Join(dir, f.Name), f.Data)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../npm/bin/npm-cli.js", filepath.Join(bin, "npm")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(node, filepath.Join(bin, "node")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	return filepath.Join(dir, "npm")
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func modules(t *testing.T, s *pack.Store) []byte {
	t.Helper()
	b, err := s.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs the program, with a pack if there is one, and returns what it says.
func run(t *testing.T, packed []byte) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{}
	if packed != nil {
		write(t, filepath.Join(dir, "loader.cjs"), pack.Loader)
		write(t, filepath.Join(dir, "modules"), packed)
		write(t, filepath.Join(dir, "pre.cjs"), []byte("require('./loader.cjs')(__dirname + '/modules')\nrequire('fs').rmSync(__dirname, {recursive: true})\n"))
		args = append(args, "--require="+filepath.Join(dir, "pre.cjs"))
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", append(args, npm)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestLoadsTheSame runs a program from its files and from a pack.
func TestLoadsTheSame(t *testing.T) {
	install(t)
	plain := run(t, nil)
	if !strings.HasPrefix(plain, "cli true true true\n") || !strings.HasSuffix(plain, "MODULE_NOT_FOUND\nesm\n") {
		t.Fatalf("the program does not work:\n%s", plain)
	}
	if got := run(t, modules(t, pack.Open(filepath.Join(t.TempDir(), "packs")))); got != plain {
		t.Errorf("from a pack:\n%s\nfrom its files:\n%s", got, plain)
	}
}

// TestLoadsFromThePack changes files that are in it; what is not, and what
// belongs to another npm or another node, comes from the files.
func TestLoadsFromThePack(t *testing.T) {
	npm := install(t)
	packed := modules(t, pack.Open(filepath.Join(t.TempDir(), "packs")))
	write(t, filepath.Join(npm, "lib/computed.js"), []byte("module.exports = 'new'"))
	write(t, filepath.Join(npm, "node_modules/b/x/sub.js"), []byte("module.exports = 'new'"))
	got := run(t, packed)
	if !strings.Contains(got, "xsub sub") || !strings.Contains(got, "\nnew ") {
		t.Errorf("not from the pack, or a module that it has not:\n%s", got)
	}
	for name, other := range map[string][]byte{
		"another node": bytes.Replace(packed, []byte(`{"node":"v`), []byte(`{"node":"w`), 1),
		"another npm":  bytes.Replace(packed, []byte(`"main":"/`), []byte(`"main":"//`), 1),
	} {
		if got := run(t, other); !strings.Contains(got, "xnew new") {
			t.Errorf("%s: not from the files:\n%s", name, got)
		}
	}
}

// TestStore holds when a pack is made again.
func TestStore(t *testing.T) {
	npm := install(t)
	dir := filepath.Join(t.TempDir(), "packs")
	s := pack.Open(dir)
	first := modules(t, s)
	files := func() []string {
		list, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if n := len(files()); n != 1 {
		t.Fatalf("%d files in the store", n)
	}
	file := files()[0]
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	modules(t, pack.Open(dir))
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Error("the same npm was packed twice")
	}

	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"a byte": append(bytes.Clone(raw[:len(raw)-1]), 'x'), "cut": raw[:len(raw)/2], "empty": nil, "more": append(bytes.Clone(raw), 'x'),
	} {
		write(t, file, damaged)
		if !bytes.Equal(modules(t, s), first) {
			t.Errorf("%s: a damaged pack was used", name)
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, raw) {
			t.Errorf("%s: a damaged pack stays", name)
		}
	}

	write(t, filepath.Join(npm, "lib/cjs.cjs"), []byte("module.exports = 'sjc'\n"))
	second := modules(t, s)
	if bytes.Equal(second, first) || len(files()) != 2 {
		t.Error("npm changed, its pack did not")
	}
	for i := range 6 {
		if err := os.Chtimes(filepath.Join(npm, "lib/cjs.cjs"), time.Time{}, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
		modules(t, s)
	}
	if n := len(files()); n != 4 {
		t.Errorf("%d packs are kept, want 4", n)
	}
}

// TestNoPack holds what is no npm to make one of.
func TestNoPack(t *testing.T) {
	for name, change := range map[string]func(npm string) error{
		"another program": func(npm string) error {
			return os.Rename(filepath.Join(npm, "bin/npm-cli.js"), filepath.Join(npm, "bin/cli.js"))
		},
		"no node": func(npm string) error { return os.Remove(filepath.Join(npm, "../bin/node")) },
		"a package.json that is none": func(npm string) error {
			return os.WriteFile(filepath.Join(npm, "package.json"), []byte("{"), 0o644)
		},
		"a node that fails": func(npm string) error {
			node := filepath.Join(npm, "../bin/node")
			if err := os.Remove(node); err != nil {
				return err
			}
			return os.WriteFile(node, []byte("#!/bin/sh\nexit 3\n"), 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := change(install(t)); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "packs")
			if b, err := pack.Open(dir).Modules(t.Context()); err == nil {
				t.Errorf("a pack of %d bytes", len(b))
			}
			if list, _ := os.ReadDir(dir); len(list) > 0 {
				t.Errorf("%d files stay in the store", len(list))
			}
		})
	}
}

// TestPrivate holds that a pack comes only from where nobody else writes.
func TestPrivate(t *testing.T) {
	install(t)
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	modules(t, pack.Open(shared))
	if err := os.Chmod(shared, 0o770); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", shared, link} {
		if _, err := pack.Open(dir).Modules(t.Context()); err == nil {
			t.Errorf("%q: a pack from a folder that is not private", dir)
		}
	}
}

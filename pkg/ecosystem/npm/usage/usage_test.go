package usage_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/usage"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// project makes a tree of files and a project of the packages in it; those whose
// name begins with h have an install script.
func project(files map[string]string) (fstest.MapFS, ecosystem.Project) {
	fsys, p := fstest.MapFS{}, ecosystem.Project{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var dir string
		if n, _ := fmt.Sscanf(name, "node_modules/%s", &dir); n == 1 && len(dir) > len("/package.json") && dir[len(dir)-len("/package.json"):] == "/package.json" {
			dir = dir[:len(dir)-len("/package.json")]
			p.Packages = append(p.Packages, ecosystem.Package{Package: finding.Package{Path: "node_modules/" + dir}, HasScripts: dir[0] == 'h'})
		}
	}
	return fsys, p
}

func TestHookOnly(t *testing.T) {
	const h = "node_modules/h/"
	with := func(text string, more ...string) map[string]string {
		m := map[string]string{"package.json": `{"dependencies":{"d":"1"}}`, h + "package.json": text, h + "setup.js": "x",
			"node_modules/d/package.json": `{"dependencies":{"h":"1"}}`, "node_modules/d/index.js": "require('h')"}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	many := with(`{}`)
	for i := range 20 {
		many[fmt.Sprint(h, "lib/", i, ".js")] = "x"
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"no code", with(`{}`), true},
		{"an entry point that is not there", with(`{"main":"lib/x.js"}`), true},
		{"an entry point outside", with(`{"main":"../d/index.js"}`), true},
		{"an entry point", with(`{"main":"setup"}`), false},
		{"an index", with(`{}`, h+"index.js", "x"), false},
		{"a program", with(`{"bin":"setup.js"}`), false},
		{"exports", with(`{"exports":{"./x":"./setup.js"}}`), false},
		{"styles", with(`{"style":"x.css"}`), false},
		{"what is built first", with(`{"main":"build/x.node"}`, h+"binding.gyp", "{}"), false},
		{"much that can be loaded by its path", many, false},
		{"nobody mentions it", with(`{"main":"setup.js"}`, "node_modules/d/index.js", "x"), true},
		{"one of two mentions it", with(`{"main":"setup.js"}`, "node_modules/d/index.js", "x", "node_modules/e/package.json", `{"optionalDependencies":{"h":"1"}}`, "node_modules/e/x.js", "import 'h/y'"), false},
		{"the project asks for it", with(`{"main":"setup.js"}`, "package.json", `{"devDependencies":{"h":"1"}}`, "node_modules/d/index.js", "x"), false},
		{"a dependent's dependency mentions it", with(`{"main":"setup.js"}`, "node_modules/d/index.js", "x", "node_modules/d/node_modules/e/index.js", "require('h')"), true},
		{"a manifest that can't be read", with(`[`), false},
	} {
		fsys, p := project(tt.files)
		want := map[string]bool{}
		if tt.want {
			want["node_modules/h"] = true
		}
		if diff := cmp.Diff(want, usage.HookOnly(fsys, p)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// What the lockfile calls a path is no way out of the project.
func TestHostilePaths(t *testing.T) {
	fsys, p := project(map[string]string{"package.json": "{}"})
	for _, at := range []string{"../x", "/etc", "", "node_modules/gone"} {
		p.Packages = append(p.Packages, ecosystem.Package{Package: finding.Package{Path: at}, HasScripts: true})
	}
	if got := usage.HookOnly(fsys, p); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

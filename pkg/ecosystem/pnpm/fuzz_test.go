package pnpm_test

import (
	"io/fs"
	"path"
	"testing"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pnpm"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Whatever a source has, reading it ends in a fault of its own or in packages
// that a registry can have and that lie inside of it.
func FuzzLoad(f *testing.F) {
	for _, lock := range []string{
		"", "lockfileVersion: '6.0'\ndependencies: {a: {version: /b@1.0.0(c@2.0.0)}}\npackages: {/a@1.0.0(b@1.0.0): {resolution: {integrity: x}, requiresBuild: true}}",
		"lockfileVersion: '9.0'\nimporters: {.: {dependencies: {a: {version: 1.0.0}}}, web: {}}\npackages: {a@1.0.0: {resolution: {integrity: x}}}\nsnapshots: {a@1.0.0: {optional: true}}",
		"lockfileVersion: 9\npackages: {'@a/b@file:x': {resolution: {directory: x, type: directory}}, c@https://example.com/c: {resolution: {tarball: https://example.com/c}, version: 1.0.0}}",
		"lockfileVersion: &a 9.0\nimporters: {x: *a}\n---\n",
	} {
		f.Add([]byte(lock), []byte("packages: ['*']\nscriptShell: x\n"), []byte("hoist-pattern[]=*\nnode-linker=hoisted\n"))
	}
	f.Fuzz(func(t *testing.T, lock, workspace, npmrc []byte) {
		fsys := project(string(lock), "pnpm-workspace.yaml", string(workspace), ".npmrc", string(npmrc), "web/package.json", `{"name":"web"}`,
			"package.json", `{"dependencies":{"a":"1","b":"npm:c@2"}}`)
		if _, err := (pnpm.Manager{}).Detect(fsys); err != nil {
			t.Fatal(err)
		}
		p, err := pnpm.Manager{}.Load(fsys, ".")
		if err != nil {
			if kind := fault.KindOf(err); kind != fault.Invalid && kind != fault.TooLarge {
				t.Fatalf("%v: %v", kind, err)
			}
			return
		}
		for _, pkg := range p.Packages {
			if !node.ValidName(pkg.Name) || !pkg.Link && !pkg.Foreign && !node.ValidVersion(pkg.Version) || !fs.ValidPath(path.Join(".", pkg.Path)) || path.IsAbs(pkg.Path) {
				t.Errorf("%+v", pkg)
			}
		}
		pnpm.Manager{}.Recipe(p, ecosystem.Setting{Work: "/builds", Home: "/root", Import: true})
	})
}

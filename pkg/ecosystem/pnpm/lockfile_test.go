package pnpm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pnpm"
	"github.com/falconer-sec/falconer/pkg/fault"
)

const hash = "sha512-aaaa"

// project is a source with that lockfile; more are names and contents.
func project(lock string, more ...string) fstest.MapFS {
	fsys := fstest.MapFS{"pnpm-lock.yaml": {Data: []byte(lock)}, "package.json": {Data: []byte("{}")}}
	for i := 0; i+1 < len(more); i += 2 {
		fsys[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
	}
	return fsys
}

// described is what is compared of a project.
func described(p ecosystem.Project) []string {
	var out []string
	for _, pkg := range p.Packages {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", pkg.Path, pkg.PURL, pkg.Integrity))
		for word, is := range map[string]bool{"link": pkg.Link, "foreign": pkg.Foreign} {
			if is {
				line += " " + word
			}
		}
		out = append(out, line)
	}
	for _, i := range p.Imports {
		out = append(out, fmt.Sprintf("import %s from %s: %s", i.Name, i.From, i.Package.PURL))
	}
	for _, problem := range p.Problems {
		out = append(out, "problem: "+problem)
	}
	return out
}

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want []string
	}{
		"version 6": {project(`lockfileVersion: '6.0'
dependencies:
  '@acme/tool': {specifier: ^1, version: 1.0.0(react@18.0.0)}
  other: {specifier: 'npm:is-number@7', version: /is-number@7.0.0}
packages:
  /@acme/tool@1.0.0(react@18.0.0):
    resolution: {integrity: sha512-aaaa}
    requiresBuild: true
  /is-number@7.0.0:
    resolution: {integrity: sha512-aaaa}
  github.com/acme/fork/0123:
    resolution: {tarball: https://codeload.example.com/acme/fork/tar.gz/0123}
    name: fork
    version: 2.0.0
`, "package.json", `{"dependencies":{"@acme/tool":"^1","other":"npm:is-number@7"}}`), []string{
			"node_modules/.pnpm/@acme+tool@1.0.0/node_modules/@acme/tool pkg:npm/%40acme/tool@1.0.0 " + hash,
			"node_modules/.pnpm/fork@2.0.0/node_modules/fork pkg:npm/fork@2.0.0?download_url=https:%2F%2Fcodeload.example.com%2Facme%2Ffork%2Ftar.gz%2F0123 foreign",
			"node_modules/.pnpm/is-number@7.0.0/node_modules/is-number pkg:npm/is-number@7.0.0 " + hash,
			"import @acme/tool from .: pkg:npm/%40acme/tool@1.0.0",
			"import other from .: pkg:npm/is-number@7.0.0",
			`problem: fork@2.0.0 comes from "https://codeload.example.com/acme/fork/tar.gz/0123", not from a registry: it can't be fetched inside the sandbox`,
		}},
		"version 9": {project(`lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      a: {specifier: ^1, version: 1.0.0}
      alias: {specifier: 'npm:@acme/b@2', version: '@acme/b@2.0.0(a@1.0.0)'}
      local: {specifier: 'link:./local', version: link:local}
    optionalDependencies:
      c: {specifier: ^3, version: 3.0.0}
packages:
  a@1.0.0: {resolution: {integrity: sha512-aaaa}}
  '@acme/b@2.0.0': {resolution: {integrity: sha512-aaaa}}
  c@3.0.0: {resolution: {integrity: sha512-aaaa}, os: [linux], cpu: [x64]}
snapshots:
  a@1.0.0: {}
  '@acme/b@2.0.0(a@1.0.0)': {}
  c@3.0.0: {optional: true}
`, "package.json", `{"dependencies":{"a":"^1","alias":"npm:@acme/b@2","local":"link:./local"},"optionalDependencies":{"c":"^3"}}`), []string{
			"node_modules/.pnpm/@acme+b@2.0.0/node_modules/@acme/b pkg:npm/%40acme/b@2.0.0 " + hash,
			"node_modules/.pnpm/a@1.0.0/node_modules/a pkg:npm/a@1.0.0 " + hash,
			"node_modules/.pnpm/c@3.0.0/node_modules/c pkg:npm/c@3.0.0 " + hash,
			"import a from .: pkg:npm/a@1.0.0",
			"import alias from .: pkg:npm/%40acme/b@2.0.0",
			"import c from .: pkg:npm/c@3.0.0",
		}},
		// In version 9 the key has the address, and the entry no name.
		"from elsewhere": {project(`lockfileVersion: '9.0'
packages:
  tar@https://codeload.example.com/acme/tar/tar.gz/0123: {resolution: {tarball: 'https://codeload.example.com/acme/tar/tar.gz/0123'}, version: 1.0.0}
  '@acme/git@git+ssh://git@git.example.com/acme/git.git#0123': {resolution: {commit: '0123', repo: 'ssh://git@git.example.com/acme/git.git', type: git}, version: 1.0.0}
  dir@file:dir: {resolution: {directory: dir, type: directory}}
  packed@file:packed.tgz: {resolution: {tarball: 'file:packed.tgz', integrity: sha512-aaaa}, version: 1.0.0}
`), []string{
			"pkg:npm/%40acme/git@1.0.0?vcs_url=git%2Bssh:%2F%2Fgit.example.com%2Facme%2Fgit.git%230123 foreign",
			"pkg:npm/packed@1.0.0?download_url=file:packed.tgz " + hash + " foreign",
			"dir link",
			"node_modules/.pnpm/tar@1.0.0/node_modules/tar pkg:npm/tar@1.0.0?download_url=https:%2F%2Fcodeload.example.com%2Facme%2Ftar%2Ftar.gz%2F0123 foreign",
			`problem: @acme/git@1.0.0 comes from "git+ssh://git@git.example.com/acme/git.git#0123", not from a registry: it can't be fetched inside the sandbox`,
			`problem: tar@1.0.0 comes from "https://codeload.example.com/acme/tar/tar.gz/0123", not from a registry: it can't be fetched inside the sandbox`,
		}},
		"a workspace": {project(`lockfileVersion: '9.0'
importers:
  .: {}
  apps/web:
    dependencies:
      a: {specifier: ^1, version: 1.0.0}
      lib: {specifier: 'workspace:*', version: link:../lib}
  apps/lib: {}
  apps/gone: {}
packages:
  a@1.0.0: {resolution: {integrity: sha512-aaaa}}
`, "apps/web/package.json", `{"name":"web","version":"1.0.0","dependencies":{"a":"^1","lib":"workspace:*"}}`, "apps/lib/package.json", `{"name":"lib"}`), []string{
			"apps/lib link", "apps/web link",
			"node_modules/.pnpm/a@1.0.0/node_modules/a pkg:npm/a@1.0.0 " + hash,
			"import a from apps/web: pkg:npm/a@1.0.0",
			`problem: the lockfile has "apps/gone", which has no readable package.json`,
		}},
		"not pinned": {project("lockfileVersion: '9.0'\npackages:\n  a@1.0.0: {resolution: {}}\n  b@1.0.0: {resolution: {integrity: sha512-aaaa, tarball: 'https://registry.example.com/c/-/c-1.0.0.tgz'}}\n"), []string{
			"node_modules/.pnpm/a@1.0.0/node_modules/a pkg:npm/a@1.0.0",
			"node_modules/.pnpm/b@1.0.0/node_modules/b pkg:npm/b@1.0.0 " + hash,
			"problem: a@1.0.0 has no integrity: its content is not pinned",
			`problem: b@1.0.0 is said to come from "https://registry.example.com/c/-/c-1.0.0.tgz", which names another package`,
		}},
		"code in pnpm itself": {project("lockfileVersion: '9.0'\n", ".pnpmfile.cjs", "", ".npmrc", "script-shell=./evil\nnode-linker=hoisted\n", "pnpm-workspace.yaml", "configDependencies: {evil: 1.0.0+sha512-aaaa}\npnpmfile: x.cjs\nscriptShell: ./evil\n"), []string{
			`problem: .npmrc sets script-shell to "./evil", which the scan does not apply`,
			"problem: .pnpmfile.cjs is code that runs in pnpm's own process; the scan withholds it",
			"problem: pnpm-workspace.yaml has configDependencies, whose code runs in pnpm's own process: pnpm reports what it does as the manager's",
			"problem: pnpm-workspace.yaml names a pnpmfile, code that runs in pnpm's own process; the scan does not apply it",
			`problem: pnpm-workspace.yaml sets scriptShell to "./evil", which the scan does not apply`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := pnpm.Manager{}.Load(c.fsys, ".")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, described(p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What no honest lockfile has is refused, and the file named.
func TestRefused(t *testing.T) {
	entry := func(key, rest string) string {
		return fmt.Sprintf("lockfileVersion: '9.0'\npackages:\n  %q: {%s}\n", key, rest)
	}
	for name, lock := range map[string]string{
		"no YAML":                  "a: [",
		"no lockfile":              "[]",
		"nothing":                  "",
		"no version":               "packages: {}",
		"version 5":                "lockfileVersion: 5.4",
		"version 60":               "lockfileVersion: '60.0'",
		"a second document":        "lockfileVersion: '9.0'\n---\nlockfileVersion: '9.0'\npackages:\n  evil@1.0.0: {resolution: {integrity: sha512-aaaa}}\n",
		"a key without a version":  entry("a", "resolution: {}"),
		"an empty key":             entry("", "resolution: {}"),
		"only a scope":             entry("@", "resolution: {}"),
		"a tag":                    entry("a@latest", "resolution: {}"),
		"a name that climbs":       entry("../../etc@1.0.0", "resolution: {}"),
		"a name with markup":       entry("<b>@1.0.0", "resolution: {}"),
		"another name that climbs": entry("a@1.0.0", "resolution: {}, name: ../x"),
		"a version that climbs":    entry("a@1.0.0", "resolution: {}, version: ../x"),
		"a directory outside":      entry("a@file:x", "resolution: {directory: ../x, type: directory}"),
		"an absolute directory":    entry("a@file:x", "resolution: {directory: /etc, type: directory}"),
		"an importer outside":      "lockfileVersion: '9.0'\nimporters: {../x: {}}",
		"an absolute importer":     "lockfileVersion: '9.0'\nimporters: {/etc: {}}",
		"an importer not cleaned":  "lockfileVersion: '9.0'\nimporters: {a/../b: {}}",
		"a key twice":              "lockfileVersion: '9.0'\nlockfileVersion: '6.0'\n",
		"a bomb": "lockfileVersion: '9.0'\na: &a [x,x,x,x,x,x,x,x,x]\n" +
			"b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\npackages: {a@1.0.0: {os: [*f,*f,*f,*f,*f,*f,*f,*f,*f]}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			p, err := pnpm.Manager{}.Load(project(lock), ".")
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "pnpm-lock.yaml") {
				t.Errorf("%v, %q", err, described(p))
			}
		})
	}
	fsys := project("lockfileVersion: '9.0'\n")
	fsys["package.json"].Data = []byte("[]")
	if _, err := (pnpm.Manager{}).Load(fsys, "."); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "package.json") {
		t.Errorf("a manifest that is none: %v", err)
	}
}

// A lockfile whose reading costs more than its size tells is too large.
func TestTooLarge(t *testing.T) {
	var keys strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, fsys := range map[string]fstest.MapFS{
		"keys":               project(keys.String()),
		"an alias in itself": project("lockfileVersion: '9.0'\nx: &x [*x]\n"),
		"bytes":              project(strings.Repeat("#", 9<<20)),
	} {
		if _, err := (pnpm.Manager{}).Load(fsys, "."); fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), "pnpm-lock.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := pnpm.Manager{}.Load(project("lockfileVersion: '9.0'\n", "pnpm-workspace.yaml", keys.String()), ".")
	if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "pnpm-workspace.yaml can't be read") {
		t.Errorf("workspace: %q, %v", p.Problems, err)
	}
}

// A lockfile is found wherever it lies, but for a member's; one without a
// package.json is refused, not passed over.
func TestDetect(t *testing.T) {
	fsys := project("lockfileVersion: '9.0'\n", "pnpm-workspace.yaml", "packages: ['apps/*', '!apps/alone']\n",
		"apps/web/pnpm-lock.yaml", "", "apps/alone/pnpm-lock.yaml", "lockfileVersion: '9.0'\n", "apps/alone/package.yaml", "name: alone\n",
		"node_modules/a/pnpm-lock.yaml", "")
	roots, err := pnpm.Manager{}.Detect(fsys)
	if err != nil || !slices.Equal(roots, []string{".", "apps/alone"}) {
		t.Fatalf("%q, %v", roots, err)
	}
	if _, err := (pnpm.Manager{}).Load(fsys, "apps/alone"); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "apps/alone/package.json") {
		t.Error(err)
	}
}

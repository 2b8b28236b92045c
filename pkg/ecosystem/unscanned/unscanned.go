// Package unscanned has the managers whose projects are found and can't be
// scanned yet: each project of theirs is refused with the reason, so that a
// source is not called clean of which a part was left out.
package unscanned

import (
	"io/fs"
	"path"
	"slices"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Manager finds the projects of one package manager.
type Manager struct {
	name, program string
	files         []string // manifests or lockfiles by which a project is known
	with          []string // files of which one has to be beside them
	without       []string // files beside them that make it another manager's
	topmost       bool     // folders below another one are its parts
	reason        string
}

var _ ecosystem.Watched = Manager{}

const runsInside = "its plugins run inside the tool itself, where what they do can't be told from what it does"

// Another manager's lockfile beside it is no excuse: it may pin other packages
// than those that this manager installs.
const otherPins = "its lockfile is not read; falconer scans projects with the lockfile of npm or pnpm in its place (npm install --package-lock-only, pnpm import)"

// Managers returns them.
func Managers() []Manager {
	return []Manager{
		{name: "maven", program: "mvn", files: []string{"pom.xml"}, topmost: true, reason: runsInside},
		{name: "gradle", program: "gradle", files: []string{"settings.gradle", "settings.gradle.kts", "build.gradle", "build.gradle.kts"}, topmost: true, reason: runsInside},
		{name: "pipenv", program: "pipenv", files: []string{"Pipfile.lock"}, without: []string{"poetry.lock", "uv.lock"},
			reason: "its lockfile is not read; commit a requirements file beside it (pipenv requirements --hash)"},
		{name: "yarn", program: "yarn", files: node.Lockfiles["yarn"], with: []string{node.ManifestName}, reason: otherPins},
		{name: "bun", program: "bun", files: node.Lockfiles["bun"], with: []string{node.ManifestName}, reason: otherPins},
	}
}

// Name returns the manager's lower-case name.
func (m Manager) Name() string { return m.name }

// Manifests implements ecosystem.Watched.
func (m Manager) Manifests() []string { return slices.Concat(m.files, m.with) }

// Detect returns the folders that have one of the manager's files.
func (m Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(slices.Concat(m.files, m.with, m.without)...))
	if err != nil {
		return nil, err
	}
	var out []string
	for dir, names := range found {
		has := func(of []string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(of, n) })
		}
		if has(m.files) && (len(m.with) == 0 || has(m.with)) && !has(m.without) {
			out = append(out, dir)
		}
	}
	if m.topmost {
		return tree.Topmost(out), nil
	}
	slices.Sort(out)
	return out, nil
}

// Load always returns fault.Permanent with the reason.
func (m Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := path.Join(root, m.files[0])
	for _, f := range m.files {
		if tree.Exists(fsys, path.Join(root, f)) {
			name = path.Join(root, f)
			break
		}
	}
	return ecosystem.Project{}, fault.Errorf(fault.Permanent, "%s: %s is found and not scanned: %s", m.name, name, m.reason)
}

// Recipe is never used: nothing of the manager's is loaded.
func (m Manager) Recipe(ecosystem.Project, ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Version: m.name + "-0", Argv: []string{m.program}, Image: m.name,
		Programs: []ecosystem.Program{{Name: m.program, Hint: "projects of " + m.name + " are not scanned"}}}
}

// Place finds nobody.
func (Manager) Place(ecosystem.Project, ecosystem.Setting, ecosystem.Exec) (ecosystem.Place, bool) {
	return ecosystem.Place{}, false
}

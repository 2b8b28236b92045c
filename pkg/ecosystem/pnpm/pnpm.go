// Package pnpm is the ecosystem.Manager for pnpm (10 and later; lockfiles of
// version 6 and 9).
//
// It guarantees what package node does, and: the recipe runs every package's
// install scripts, whatever the project's own configuration allows, and none of
// what that configuration would put into pnpm's own process.
package pnpm

import (
	"io/fs"
	"path"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Name is the manager's name.
const Name = "pnpm"

const (
	lockfileName  = "pnpm-lock.yaml"
	workspaceName = "pnpm-workspace.yaml"
	configName    = ".npmrc"
	hooksName     = ".pnpmfile.cjs"
	maxLockfile   = 8 << 20 // bytes; read, YAML takes a hundred times as much
	maxWorkspace  = 1 << 20 // bytes of a pnpm-workspace.yaml or a .npmrc
)

// Manager is pnpm. Its zero value is ready to use and safe for concurrent use.
type Manager struct{}

var (
	_ ecosystem.Watched = Manager{}
	_ ecosystem.Locator = Manager{}
)

// Name returns "pnpm".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string {
	return []string{node.ManifestName, lockfileName, workspaceName, configName, hooksName}
}

// Detect returns the folders with a pnpm-lock.yaml that are not members of an
// enclosing one's workspace. Load refuses those whose manifest is no package.json.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	return node.Detect(fsys, []string{lockfileName}, members)
}

// Place implements ecosystem.Manager, see node.Place. pnpm starts a script as
// `sh -c SCRIPT` in the package's folder.
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	return node.Place(p, s, e)
}

// Locate implements ecosystem.Locator.
func (Manager) Locate(p ecosystem.Project, dir, version string) (finding.Package, bool) {
	return node.Locate(p, dir, version)
}

// workspace is the part of a pnpm-workspace.yaml that is looked at.
type workspace struct {
	Packages           []string       `yaml:"packages"`
	ConfigDependencies map[string]any `yaml:"configDependencies"`
	Pnpmfile           any            `yaml:"pnpmfile"`
	GlobalPnpmfile     any            `yaml:"globalPnpmfile"`
	ScriptShell        string         `yaml:"scriptShell"`
	NodeOptions        string         `yaml:"nodeOptions"`
}

func readWorkspace(fsys fs.FS, root string) (w workspace, err error) {
	b, err := tree.Read(fsys, path.Join(root, workspaceName), maxWorkspace)
	if err != nil {
		return w, err
	}
	return w, decode(b, workspaceWork, &w)
}

// members returns a root's workspace patterns. What can't be read has none:
// Load reports it.
func members(fsys fs.FS, root string) []string {
	w, err := readWorkspace(fsys, root)
	if err != nil {
		return nil
	}
	return w.Packages
}

package pip

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Manager is pip. Its zero value is ready to use and safe for concurrent use.
type Manager struct{}

var _ ecosystem.Watched = Manager{}

// Name returns "pip".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string {
	return []string{"requirements.txt", "setup.py", "setup.cfg", "pyproject.toml"}
}

// Settings of a project.
const (
	settingFiles  = "files"  // requirements files relative to the root, a line each
	settingHashed = "hashed" // "true" if each requirement has a hash
)

// Load reads the requirements files of root and what they include. Everything
// malformed, missing or hostile is fault.Invalid (too large: fault.TooLarge)
// and names the file; what is merely open is a Problem.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	if !fs.ValidPath(root) {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "pip: %.200q is not a folder of the source", root)
	}
	names := files(fsys, root)
	if len(names) == 0 {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "pip: %s has no requirements.txt: without one, what gets installed is not pinned; "+
			"write one with versions and hashes (pip-compile --generate-hashes does) and commit it", path.Join(root, "setup.py"))
	}
	r := newReader(fsys, root)
	for _, name := range names {
		if err := r.file(path.Join(root, name), false); err != nil {
			return ecosystem.Project{}, fmt.Errorf("pip: %w", err)
		}
	}
	return ecosystem.Project{
		Manager: Name, Root: root, Lockfile: names[0], Digest: tree.Digest(r.raw),
		Packages: r.sorted(), Problems: r.listProblems(),
		Settings: map[string]string{settingFiles: strings.Join(names, "\n"), settingHashed: fmt.Sprint(r.hashed)},
	}, nil
}

package gomod

import (
	"path"
	"strings"

	"golang.org/x/mod/module"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// PhaseInstall is the phase of everything that `go build` starts.
const PhaseInstall = "install"

// Place recognises what the go command starts in a module's folder: cgo, and
// the compilers that it asks for. The folder is the go command's choice, by the
// module's path and version. The script is the program's name ("cgo").
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	if len(e.Argv) == 0 {
		return ecosystem.Place{}, false
	}
	script := path.Base(e.Argv[0])
	cwd := path.Clean(e.Cwd)
	for _, pkg := range p.Packages {
		for _, dir := range folders(pkg.Name, pkg.Version, s) {
			if cwd == dir || strings.HasPrefix(cwd, dir+"/") {
				return ecosystem.Place{Package: pkg.Package, Script: script[:min(len(script), maxScript)], Phase: PhaseInstall}, true
			}
		}
	}
	return ecosystem.Place{}, false
}

// maxScript bounds a script's name.
const maxScript = 64

// folders are where a module may lie: in the cache of modules, or vendored.
func folders(name, version string, s ecosystem.Setting) []string {
	out := []string{path.Join(s.Work, "vendor", name)}
	escaped, err1 := module.EscapePath(name)
	at, err2 := module.EscapeVersion(version)
	if err1 == nil && err2 == nil {
		out = append(out, path.Join(s.Home, modulesDir, escaped+"@"+at))
	}
	return out
}

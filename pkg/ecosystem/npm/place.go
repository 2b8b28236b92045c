package npm

import (
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// PhaseInstall is the phase of everything that `npm ci` starts.
const PhaseInstall = "install"

// maxScript bounds a lifecycle event's name.
const maxScript = 64

// Place recognises npm starting a lifecycle script: `sh -c SCRIPT` in the
// package's folder, with npm_lifecycle_event, npm_lifecycle_script and
// npm_package_json saying the same. The package is the lockfile's entry for
// that folder, or the closest one around it (a bundled dependency that the
// lockfile does not list). Scripts of the project itself have a Package that
// is empty but for the Path ".".
//
// npm puts those variables last, after what the package's own manifest
// contributes, so a hostile one can push them out of a bounded record of the
// environment. Then the folder alone decides and Script is "".
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	if len(e.Argv) < 3 || path.Base(e.Argv[0]) != "sh" || e.Argv[1] != "-c" {
		return ecosystem.Place{}, false
	}
	event, script, manifest := lifecycle(e.Env)
	who, exact := owner(p, s.Work, e)
	switch {
	case event == "" && manifest == "" && exact:
	case event == "" || len(event) > maxScript, !strings.HasPrefix(e.Argv[2], script), manifest != path.Join(e.Cwd, node.ManifestName):
		return ecosystem.Place{}, false
	}
	return ecosystem.Place{Package: who, Script: event, Phase: PhaseInstall}, true
}

func lifecycle(env []string) (event, script, manifest string) {
	for _, v := range env {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "npm_lifecycle_event":
			event = value
		case "npm_lifecycle_script":
			script = value
		case "npm_package_json":
			manifest = value
		}
	}
	return event, script, manifest
}

// owner returns the package that is installed in e.Cwd or closest around it;
// exact says that it is that very folder.
func owner(p ecosystem.Project, work string, e ecosystem.Exec) (who finding.Package, exact bool) {
	root := finding.Package{Path: "."}
	if path.Clean(e.Cwd) == path.Clean(work) {
		return root, true
	}
	best := root
	for _, pkg := range p.Packages {
		at := path.Join(work, pkg.Path)
		if at == e.Cwd {
			return pkg.Package, true
		}
		if strings.HasPrefix(e.Cwd, at+"/") && (best == root || len(pkg.Path) > len(best.Path)) {
			best = pkg.Package
		}
	}
	if best == root {
		return prepared(p, e), false
	}
	return best, false
}

// prepared names the git dependency that npm builds in a temporary folder of
// its own, by the name npm read from its manifest; the project itself if there
// is none of that name.
func prepared(p ecosystem.Project, e ecosystem.Exec) finding.Package {
	for _, v := range e.Env {
		name, ok := strings.CutPrefix(v, "npm_package_name=")
		if !ok {
			continue
		}
		for _, pkg := range p.Packages {
			if pkg.Foreign && pkg.Name == name {
				return pkg.Package
			}
		}
	}
	return finding.Package{Path: "."}
}

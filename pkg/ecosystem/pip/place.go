package pip

import (
	"path"
	"regexp"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// PhaseInstall is the phase of everything that `pip install` starts.
const PhaseInstall = "install"

// building is a folder in which pip builds a source archive: its requirement's
// normal name and a random number (pip 20.3 and later).
var building = regexp.MustCompile(`^/[^/]+(?:/[^/]+)*/pip-install-[A-Za-z0-9_]+/([a-z0-9][a-z0-9-]*)_[0-9a-f]{32}(?:/|$)`)

// hooks are the entry points of a build, by PEP 517 and PEP 660.
var hooks = map[string]bool{"get_requires_for_build_wheel": true, "prepare_metadata_for_build_wheel": true, "build_wheel": true,
	"get_requires_for_build_editable": true, "prepare_metadata_for_build_editable": true, "build_editable": true, "build_sdist": true}

// Place recognises pip building a source archive: a Python that it starts in
// the folder where it unpacked it. pip names that folder after what it was
// asked to install, so the archive has no say. The script is the build's entry
// point ("build_wheel") or setup.py with its command ("setup.py egg_info"). A
// build in the project's own folder is the project's.
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	if len(e.Argv) < 2 || !strings.HasPrefix(path.Base(e.Argv[0]), "python") {
		return ecosystem.Place{}, false
	}
	script := scriptOf(e.Argv)
	if script == "" {
		return ecosystem.Place{}, false
	}
	cwd := path.Clean(e.Cwd)
	if m := building.FindStringSubmatch(cwd); m != nil {
		return ecosystem.Place{Package: owner(p, m[1]), Script: script, Phase: PhaseInstall}, true
	}
	if work := path.Clean(s.Work); cwd == work || strings.HasPrefix(cwd, work+"/") || strings.Contains(cwd, "/pip-req-build-") {
		return ecosystem.Place{Package: project(), Script: script, Phase: PhaseInstall}, true
	}
	return ecosystem.Place{}, false
}

// scriptOf names what a build's command line runs; "" for anything else.
func scriptOf(argv []string) string {
	if len(argv) >= 3 && strings.HasSuffix(argv[1], "_in_process.py") && hooks[argv[2]] {
		return argv[2]
	}
	if at := 1; argv[1] == "-u" || argv[1] == "-c" || strings.HasSuffix(argv[1], "setup.py") {
		if argv[at] == "-u" {
			at++
		}
		if len(argv) > at+1 && argv[at] == "-c" && strings.Contains(argv[at+1], "setup.py") {
			return strings.TrimSpace("setup.py " + command(argv[at+2:]))
		}
		if len(argv) > at && path.Base(argv[at]) == "setup.py" {
			return strings.TrimSpace("setup.py " + command(argv[at+1:]))
		}
	}
	return ""
}

// commands are those that pip gives a setup.py.
var commands = map[string]bool{"egg_info": true, "bdist_wheel": true, "install": true, "develop": true, "clean": true, "dist_info": true}

// command is the first word of args that is a command.
func command(args []string) string {
	for _, a := range args {
		if commands[a] {
			return a
		}
	}
	return ""
}

// owner is the package that the project pins under a normal name, or one of no
// known version: what a build asks for is not in the requirements.
func owner(p ecosystem.Project, name string) finding.Package {
	for _, pkg := range p.Packages {
		if pkg.Name == name {
			return pkg.Package
		}
	}
	return Package(name, "").Package
}

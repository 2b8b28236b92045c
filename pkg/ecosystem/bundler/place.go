package bundler

import (
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// PhaseInstall is the phase of everything that `bundle install` starts.
const PhaseInstall = "install"

// maxScript bounds a script's name.
const maxScript = 64

// Place recognises Bundler building a gem's extension: whatever it starts in a
// folder of an installed gem. Which gem that is says the folder, which Bundler
// chose; the script is extconf.rb, or the program where there is none (rake,
// make).
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	rest, ok := strings.CutPrefix(path.Clean(e.Cwd), path.Join(s.Home, gemsDir)+"/")
	if !ok || len(e.Argv) == 0 {
		return ecosystem.Place{}, false
	}
	parts := strings.Split(rest, "/") // ruby/3.1.0/gems/NAME-VERSION/ext/name
	for i, part := range parts[:len(parts)-1] {
		if part != "gems" {
			continue
		}
		who, ok := owner(p, parts[i+1])
		return ecosystem.Place{Package: who, Script: scriptOf(e.Argv), Phase: PhaseInstall}, ok
	}
	return ecosystem.Place{}, false
}

// owner is the gem of a folder's name, NAME-VERSION or NAME-VERSION-PLATFORM.
func owner(p ecosystem.Project, dir string) (who finding.Package, ok bool) {
	longest := ""
	for _, pkg := range p.Packages {
		full := pkg.Name + "-" + pkg.Version
		if dir == full {
			return pkg.Package, true
		}
		if strings.HasPrefix(dir, full+"-") && len(full) > len(longest) {
			longest, who, ok = full, pkg.Package, true
		}
	}
	return who, ok
}

func scriptOf(argv []string) string {
	for _, arg := range argv[1:] {
		if base := path.Base(arg); strings.HasSuffix(base, ".rb") && !strings.HasPrefix(base, "siteconf") && len(base) <= maxScript {
			return base
		}
	}
	base := path.Base(argv[0])
	return base[:min(len(base), maxScript)]
}

package cargo

import (
	"path"
	"regexp"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// PhaseInstall is the phase of everything that a build starts.
const PhaseInstall = "install"

// The scripts that a finding is placed at.
const (
	ScriptBuild = "build.rs"
	ScriptMacro = "proc-macro"
)

var (
	// buildScript is where cargo puts a package's build script: in a folder with
	// the package's name and a hash.
	buildScript = regexp.MustCompile(`/build/([A-Za-z0-9_][A-Za-z0-9_-]*)-[0-9a-f]{16}/build-script-[^/]+$`)
	// macro is a procedural macro among rustc's arguments: a library for the
	// compiler itself.
	macro = regexp.MustCompile(`^(?:noprelude:|priv:)*[^=]+=(?:[^=]*/)?lib([A-Za-z0-9_]+)-[0-9a-f]{16}\.so$`)
)

// Place recognises cargo running a package's build script, by the program's
// path, which cargo chose, and the folder it runs in, and cargo starting the
// compiler with one procedural macro: its code runs in that process. Where
// there are several, whose code does what can't be told, nor for macros that
// reach the compiler through another crate: such a process has no place.
func (Manager) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	if m := buildScript.FindStringSubmatch(e.Path); m != nil && strings.HasPrefix(e.Path, path.Clean(s.Work)+"/") {
		return ecosystem.Place{Package: owner(p, s.Work, m[1], e.Cwd), Script: ScriptBuild, Phase: PhaseInstall}, true
	}
	if len(e.Argv) == 0 || path.Base(e.Argv[0]) != "rustc" {
		return ecosystem.Place{}, false
	}
	found := ""
	for i, arg := range e.Argv {
		if i == 0 || e.Argv[i-1] != "--extern" {
			continue
		}
		if m := macro.FindStringSubmatch(arg); m != nil {
			if found != "" && found != m[1] {
				return ecosystem.Place{}, false
			}
			found = m[1]
		}
	}
	if found == "" {
		return ecosystem.Place{}, false
	}
	for _, pkg := range p.Packages {
		if strings.ReplaceAll(pkg.Name, "-", "_") == found {
			return ecosystem.Place{Package: owner(p, s.Work, pkg.Name, ""), Script: ScriptMacro, Phase: PhaseInstall}, true
		}
	}
	return ecosystem.Place{}, false
}

// owner is the locked package of that name; where several versions of it are
// locked, the folder it runs in says which. One that is not locked, or runs
// within the project, is the project's own.
func owner(p ecosystem.Project, work, name, cwd string) finding.Package {
	var of []finding.Package
	for _, pkg := range p.Packages {
		if pkg.Name == name {
			of = append(of, pkg.Package)
		}
	}
	if cwd == path.Clean(work) || strings.HasPrefix(cwd, path.Clean(work)+"/") || len(of) == 0 {
		return finding.Package{Path: "."}
	}
	if len(of) == 1 {
		return of[0]
	}
	for _, pkg := range of {
		if path.Base(cwd) == pkg.Name+"-"+pkg.Version {
			return pkg
		}
	}
	return finding.Package{Name: name, PURL: "pkg:cargo/" + name} // which version, nobody can tell
}

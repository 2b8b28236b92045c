package node

import (
	_ "embed"
	"encoding/json"
	"path"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// ImportTimeout bounds the loading of a project's packages altogether.
const ImportTimeout = 60 * time.Second

// maxPlan bounds what is handed to the loader, in bytes: recipes are bounded,
// too.
const maxPlan = 32 << 10

// loader runs in a process of its own after the install. See there for what it
// does.
//
//go:embed loader.cjs
var loader string

// plan is what the loader gets to know.
type plan struct {
	// Ask are what the project's own packages ask for: a name and the folder of
	// the package that asks.
	Ask [][2]string `json:"ask"`
	// Load are folders of further packages: those that run code at their install.
	Load []string `json:"load"`
	// Look are folders of packages of which the lockfile does not tell whether
	// they do.
	Look []string `json:"look"`
	// Versions says that the loader has to look up the versions of what it runs:
	// the folder alone does not tell.
	Versions bool `json:"versions"`
}

// Loading says what a project's loader needs to know of its manager.
type Loading struct {
	Before   []string // of the loader's command line: what its runtime is to load first
	Program  string   // the runtime; "" is Node.js
	Versions bool     // folders' names don't tell which version is in them
	Scripts  bool     // the lockfile tells which packages have install scripts
}

// ImportSteps returns the step that loads p's direct dependencies, and those of
// its other packages that run code at their install, one after the other in one
// process; none if that was not asked for, or nothing is to be loaded. What is
// beyond the bounds is not loaded.
func ImportSteps(p ecosystem.Project, s ecosystem.Setting, how Loading) []ecosystem.Step {
	if !s.Import {
		return nil
	}
	list := plan{Ask: [][2]string{}, Load: []string{}, Look: []string{}}
	var packages []finding.Package
	size, seen := 0, map[finding.Package]bool{}
	room := func(n int) bool { size += n + 8; return size <= maxPlan }
	for _, d := range p.Imports {
		if !room(len(d.Name) + len(d.From)) {
			break
		}
		list.Ask = append(list.Ask, [2]string{d.Name, d.From})
		packages = append(packages, named(d))
		seen[d.Package] = true
	}
	for _, look := range []bool{false, true} {
		for _, pkg := range p.Packages {
			at := pkg.Path
			if at == "" {
				at = modules + pkg.Name
			}
			if pkg.Link || pkg.Dev || seen[pkg.Package] || pkg.HasScripts == look || look && (how.Scripts || pkg.Optional && len(pkg.OS)+len(pkg.CPU) > 0) {
				continue
			}
			if !strings.Contains("/"+at, "/"+modules) || !room(len(at)) {
				continue
			}
			if look {
				list.Look = append(list.Look, at)
			} else {
				list.Load = append(list.Load, at)
			}
			packages = append(packages, pkg.Package)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	list.Versions = how.Versions
	raw, err := json.Marshal(list)
	if err != nil {
		panic("node: strings always encode: " + err.Error())
	}
	program := how.Program
	if program == "" {
		program = Program
	}
	argv := append([]string{program}, how.Before...)
	return []ecosystem.Step{{
		Phase: ecosystem.PhaseImport, Timeout: ImportTimeout, Packages: packages,
		Argv: append(argv, "-e", loader, string(raw)),
	}}
}

// named is the package of an import, as far as it is known.
func named(d ecosystem.Import) finding.Package {
	if d.Package != (finding.Package{}) {
		return d.Package
	}
	return finding.Package{Name: d.Name, PURL: PURL(d.Name, ""), Path: path.Join(d.From, modules, d.Name)}
}

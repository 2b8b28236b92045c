package gomod

import (
	_ "embed"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "go-1"

// Registry is the kind of registry that has Go's modules.
const Registry = "golang"

// Where things are inside the sandbox, relative to the home directory.
const (
	CacheDir   = ".cache/goproxy" // a module proxy's files: what $GOMODCACHE/cache/download holds
	modulesDir = "go/pkg/mod"
)

const (
	maxImports    = 100
	importTimeout = 10 * time.Minute
)

// importScript loads what was built.
//
//go:embed import.sh
var importScript string

// Recipe returns `go build ./...` with the modules that go.sum pins, from a
// module proxy's files or the project's vendor folder. Nothing of the user's or
// the project's own settings of the go command counts.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	r := ecosystem.Recipe{Version: RecipeVersion,
		Argv: []string{"go", "build", "./..."},
		Env: []string{"HOME=" + s.Home, "GOENV=off", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local", "GOSUMDB=off", "GOVCS=*:off", "GOTELEMETRY=off",
			"GOPATH=" + path.Join(s.Home, "go"), "GOMODCACHE=" + path.Join(s.Home, modulesDir), "GOCACHE=" + path.Join(s.Home, ".cache/go-build"),
			"GOPROXY=file://" + path.Join(s.Home, CacheDir)},
		Programs: []ecosystem.Program{{Name: "go", Hint: "install Go", Prefix: []string{"go", "env", "GOROOT"}}},
		Image:    "golang", Registry: Registry, Cache: CacheDir,
		Own: []string{path.Join(s.Home, "go") + "/", path.Join(s.Home, ".cache/go-build") + "/", "/tmp/go-build"},
	}
	if p.Settings[settingVendored] == "true" {
		r.Registry = ""
	}
	if step := importStep(p, s.Home); s.Import && len(step.Packages) > 0 {
		r.Steps = []ecosystem.Step{step}
	}
	return r
}

// importStep runs the initialisation of what the project imports, for each
// module that it requires directly in a program of its own.
func importStep(p ecosystem.Project, home string) ecosystem.Step {
	step := ecosystem.Step{Phase: ecosystem.PhaseImport, Argv: []string{"/bin/sh", "-c", importScript, "sh", path.Join(home, ".cache")}, Timeout: importTimeout, Apart: true}
	direct := strings.Split(p.Settings[settingDirect], "\n")
	for _, pkg := range p.Packages {
		if slices.Contains(direct, pkg.Name) && len(step.Packages) < maxImports {
			step.Packages = append(step.Packages, pkg.Package)
			step.Argv = append(step.Argv, pkg.Name)
		}
	}
	return step
}

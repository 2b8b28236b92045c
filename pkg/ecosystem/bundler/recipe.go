package bundler

import (
	_ "embed"
	"path"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "bundler-1"

// Registry is the kind of registry that has Ruby's gems.
const Registry = "gem"

// Where things are inside the sandbox, relative to the home directory.
const (
	CacheDir = ".cache/gems" // *.gem files
	gemsDir  = ".local/share/bundle"
)

// settingManifest is a Project's setting: the manifest's name.
const settingManifest = "manifest"

const (
	maxImports    = 300
	importTimeout = 5 * time.Minute
)

// importScript loads what was installed.
//
//go:embed import.rb
var importScript string

// Recipe returns `bundle install` of what the lockfile pins, from gems in the
// download cache.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	gems := path.Join(s.Home, gemsDir)
	prefix := []string{"ruby", "-e", "puts RbConfig::CONFIG['prefix']"}
	r := ecosystem.Recipe{Version: RecipeVersion,
		Argv: []string{"bundle", "install", "--local"},
		Env: []string{"HOME=" + s.Home, "BUNDLE_APP_CONFIG=" + path.Join(s.Home, ".bundle/project"), "BUNDLE_FROZEN=true", "BUNDLE_PATH=" + gems,
			"BUNDLE_CACHE_PATH=" + path.Join(s.Home, CacheDir), "BUNDLE_SILENCE_ROOT_WARNING=true", "BUNDLE_DISABLE_VERSION_CHECK=true",
			"BUNDLE_VERSION=system", "BUNDLE_JOBS=1", "BUNDLE_RETRY=0", "BUNDLE_COLOR=false"},
		Withhold: []string{".bundle/config"},
		Programs: []ecosystem.Program{
			{Name: "bundle", Hint: "install Ruby with Bundler (Debian: bundler)", Prefix: prefix},
			{Name: "ruby", Hint: "install Ruby", Prefix: prefix},
		},
		Image: "ruby", Registry: Registry, Cache: CacheDir,
		Own: []string{gems + "/", path.Join(s.Home, ".bundle") + "/"},
	}
	if name := p.Settings[settingManifest]; name != "" {
		r.Env = append(r.Env, "BUNDLE_GEMFILE="+path.Join(s.Work, name))
	}
	if step := importStep(p, gems); s.Import && len(step.Packages) > 0 {
		r.Steps = []ecosystem.Step{step}
	}
	return r
}

// importStep loads every gem, each in a process of its own.
func importStep(p ecosystem.Project, gems string) ecosystem.Step {
	step := ecosystem.Step{Phase: ecosystem.PhaseImport, Argv: []string{"ruby", "--disable=gems", "-e", importScript, gems}, Timeout: importTimeout, Apart: true}
	for _, pkg := range p.Packages {
		if len(step.Packages) < maxImports {
			step.Packages = append(step.Packages, pkg.Package)
			step.Argv = append(step.Argv, pkg.Name+"-"+pkg.Version)
		}
	}
	return step
}

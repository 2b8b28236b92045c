package composer

import (
	_ "embed"
	"path"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "composer-1"

// CacheDir is Composer's cache inside the sandbox, relative to the home
// directory.
const CacheDir = ".cache/composer"

const (
	maxPlugins  = 50
	maxImports  = 300
	stepTimeout = 5 * time.Minute
)

var (
	//go:embed plugins.php
	pluginScript string
	//go:embed import.php
	importScript string
)

// PhaseInstall is the phase of what a plugin or a script does in an install.
const PhaseInstall = "install"

// Recipe returns `composer install` from the archives in Composer's cache,
// without plugins and scripts. Steps follow in which each plugin has an install
// to itself, then the project's own scripts run; they are part of an install,
// whether packages are loaded after it or not.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	r := ecosystem.Recipe{Version: RecipeVersion,
		Argv: []string{"composer", "install", "--no-interaction", "--no-progress", "--no-plugins", "--no-scripts", "--prefer-dist"},
		Env: []string{"HOME=" + s.Home, "COMPOSER_HOME=" + path.Join(s.Home, ".local/share/composer"), "COMPOSER_CACHE_DIR=" + path.Join(s.Home, CacheDir),
			"COMPOSER_VENDOR_DIR=" + path.Join(s.Work, "vendor"), "COMPOSER=" + manifestName, "COMPOSER_ALLOW_SUPERUSER=1", "COMPOSER_DISABLE_NETWORK=1",
			"COMPOSER_DISABLE_XDEBUG_WARN=1", "COMPOSER_NO_AUDIT=1"},
		Programs: []ecosystem.Program{
			{Name: "composer", Hint: "install Composer 2 (Debian: composer)"},
			{Name: "php", Hint: "install PHP's command line (Debian: php-cli)"},
			{Name: "unzip", Hint: "install unzip, with which Composer unpacks archives"},
		},
		Image: "php", Registry: Name, Cache: CacheDir,
		Own: []string{path.Join(s.Work, "vendor") + "/", path.Join(s.Home, ".local/share/composer") + "/"},
	}
	if len(p.Packages) == 0 {
		return r
	}
	r.Steps = []ecosystem.Step{step(PhaseInstall, pluginScript, maxPlugins, p.Packages, func(pkg ecosystem.Package) bool { return pkg.HasScripts })}
	if s.Import {
		r.Steps = append(r.Steps, step(ecosystem.PhaseImport, importScript, maxImports, p.Packages, func(pkg ecosystem.Package) bool { return pkg.Path != "" }))
	}
	return r
}

// step runs a script of ours with the names of the packages that it is for.
func step(phase, script string, most int, packages []ecosystem.Package, want func(ecosystem.Package) bool) ecosystem.Step {
	out := ecosystem.Step{Phase: phase, Argv: []string{"php", "-r", script, "--"}, Timeout: stepTimeout, Apart: true, Packages: []finding.Package{}}
	for _, pkg := range packages {
		if want(pkg) && len(out.Packages) < most {
			out.Packages = append(out.Packages, pkg.Package)
			out.Argv = append(out.Argv, pkg.Name)
		}
	}
	return out
}

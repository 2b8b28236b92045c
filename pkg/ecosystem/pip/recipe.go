package pip

import (
	_ "embed"
	"path"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "pip-1"

// Registry is the kind of registry that has Python's distributions.
const Registry = "pypi"

// Where things are inside the sandbox, relative to the home directory.
const (
	CacheDir = ".cache/wheels" // archives that pip may install: the download cache
	venvDir  = ".virtualenvs/project"
)

const (
	maxImports    = 300 // packages that are loaded
	importTimeout = 5 * time.Minute
)

// installScript makes a virtual environment and becomes pip in it; importScript
// loads what was installed.
var (
	//go:embed install.py
	installScript string
	//go:embed import.py
	importScript string
)

// settings pin pip's configuration: its files and the project's own environment
// could send the install elsewhere or leave parts of it out.
var settings = [...]string{
	"PIP_CONFIG_FILE=/dev/null", "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_PROGRESS_BAR=off", "PIP_NO_COLOR=1",
	"PIP_NO_CACHE_DIR=1", "PIP_ROOT_USER_ACTION=ignore", "PIP_NO_COMPILE=1", "PYTHONUNBUFFERED=1",
}

// Programs are what pip's recipe takes.
func Programs() []ecosystem.Program {
	return []ecosystem.Program{{Name: "python3", Hint: "install Python 3.8 or later with pip (Debian: python3-pip)",
		Prefix: []string{"python3", "-I", "-c", "import sys; print(sys.base_prefix)"}}}
}

// Recipe returns `pip install -r` of the project's requirements files in a
// virtual environment of its own, from the archives in the download cache and
// nothing else: source archives are built, and their setup.py runs, exactly
// where a user's pip would run it.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	var args []string
	if p.Settings[settingHashed] == "true" {
		args = append(args, "--require-hashes")
	}
	for name := range strings.SplitSeq(p.Settings[settingFiles], "\n") {
		if name != "" {
			args = append(args, "--requirement="+name)
		}
	}
	return Install(RecipeVersion, p, s, args...)
}

// Install is the recipe of a manager that installs through pip: args say what.
func Install(version string, p ecosystem.Project, s ecosystem.Setting, args ...string) ecosystem.Recipe {
	venv, cache := path.Join(s.Home, venvDir), path.Join(s.Home, CacheDir)
	r := ecosystem.Recipe{Version: version,
		Argv:     append([]string{"python3", "-I", "-c", installScript, venv, "--no-index", "--find-links=" + cache}, args...),
		Env:      append([]string{"HOME=" + s.Home}, settings[:]...),
		Programs: Programs(), Image: "python", Registry: Registry, Cache: CacheDir,
		Own: []string{venv + "/", "/tmp/pip-"}}
	if step := importStep(p, venv); s.Import && len(step.Packages) > 0 {
		r.Steps = []ecosystem.Step{step}
	}
	return r
}

// importStep loads every package, each in a process of its own: what is direct
// and what is not, requirements files don't say.
func importStep(p ecosystem.Project, venv string) ecosystem.Step {
	step := ecosystem.Step{Phase: ecosystem.PhaseImport, Argv: []string{"python3", "-I", "-S", "-c", importScript, venv}, Timeout: importTimeout, Apart: true}
	seen := map[string]bool{}
	for _, pkg := range p.Packages {
		if len(step.Packages) < maxImports && !seen[pkg.Name] {
			seen[pkg.Name] = true
			step.Packages = append(step.Packages, pkg.Package)
			step.Argv = append(step.Argv, pkg.Name)
		}
	}
	return step
}

// project names the project itself.
func project() finding.Package { return finding.Package{Path: "."} }

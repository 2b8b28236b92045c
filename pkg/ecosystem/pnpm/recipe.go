package pnpm

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "pnpm-1"

// StoreDir is pnpm's store inside the sandbox, relative to the home directory.
const StoreDir = ".local/share/pnpm/store"

// settings are given on the command line, which outranks pnpm-workspace.yaml,
// package.json and any .npmrc.
var settings = [...]string{
	// Install everything, here, now, and run what it wants to run.
	"dangerously-allow-all-builds=true", "ignore-scripts=false", "strict-dep-builds=false", "ignore-dep-scripts=false",
	"side-effects-cache=false", "optimistic-repeat-install=false", "verify-deps-before-run=false",
	"dry-run=false", "lockfile=true", "lockfile-only=false", "recursive-install=true", "enable-modules-dir=true",
	"optional=true", "package-import-method=auto", "symlink=true", "engine-strict=false",
	"modules-dir=node_modules", "virtual-store-dir=node_modules/.pnpm", "enable-global-virtual-store=false",
	// As this pnpm, with this Node.js and the system's own shell.
	"manage-package-manager-versions=false", "package-manager-strict=false", "package-manager-strict-version=false", "pm-on-fail=ignore",
	"ignore-pnpmfile=true", "script-shell=sh", "shell-emulator=false", "unsafe-perm=true", "runtime=false",
	// Through our registry only.
	"offline=false", "prefer-offline=true", "strict-ssl=true", "trust-policy=off",
	// Quietly, but with what scripts print.
	"reporter=append-only", "color=never", "update-notifier=false",
}

// Recipe returns `pnpm install --frozen-lockfile` with every setting that
// matters given explicitly. It allows every package's install scripts
// (dangerouslyAllowAllBuilds), since they are what is watched.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	r := ecosystem.Recipe{
		Version: RecipeVersion, Argv: []string{Name, "install", "--frozen-lockfile", "--child-concurrency=1"}, Withhold: []string{configName, hooksName},
		Programs: []ecosystem.Program{{Name: Name, Hint: "run `npm install -g pnpm@10`"}, {Name: node.Program, Hint: node.ProgramHint}},
		Image:    Name, Registry: ecosystem.RegistryNPM,
		Own:   []string{path.Join(s.Work, "node_modules") + "/", path.Join(s.Home, StoreDir) + "/", path.Join(s.Home, ".cache/pnpm") + "/"},
		Steps: node.ImportSteps(p, s, node.Loading{}),
	}
	for _, v := range settings {
		r.Argv = append(r.Argv, "--config."+v)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Settings)) {
		if !slices.Contains(kept, key) {
			continue
		}
		for value := range strings.SplitSeq(p.Settings[key], ",") {
			r.Argv = append(r.Argv, "--config."+key+"="+value)
		}
	}
	r.Argv = append(r.Argv, "--config.registry="+s.Registry, "--store-dir="+path.Join(s.Home, StoreDir))
	for _, scope := range node.Scopes(p, s.Scopes) {
		r.Argv = append(r.Argv, "--config."+scope+":registry="+s.Registry)
	}
	r.Env = []string{
		"HOME=" + s.Home, "CI=true", "COREPACK_ENABLE_STRICT=0", "COREPACK_ENABLE_PROJECT_SPEC=0", "COREPACK_ENABLE_NETWORK=0",
		"npm_config_registry=" + s.Registry, "npm_config_userconfig=" + path.Join(s.Home, ".npmrc"), "npm_config_globalconfig=" + path.Join(s.Home, ".npmrc.global"),
		"npm_config_manage_package_manager_versions=false", "pnpm_config_manage_package_manager_versions=false", "pnpm_config_pm_on_fail=ignore",
		"pnpm_config_registry=" + s.Registry,
	}
	if s.NodeDir != "" {
		r.Env = append(r.Env, "npm_config_nodedir="+s.NodeDir)
	}
	return r
}

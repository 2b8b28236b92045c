package npm

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "npm-3"

// CacheDir is npm's cache folder inside the sandbox, relative to the home
// directory. The prefetched cache (its _cacache folder) is mounted there.
const CacheDir = ".npm"

// settings pin npm's configuration through the environment, which outranks the
// project's .npmrc (that file is hostile: "version=true" alone would make
// `npm ci` print its version, install nothing and succeed). "null" is how the
// environment says unset; an empty variable is skipped by npm. Keys that some
// npm 10 or 11 does not know are ignored there.
//
// That file is withheld as well, because one key (workspace) can't be
// overridden; the pins hold where it reaches npm all the same.
var settings = [...]string{
	// Install everything, here, now, and run what it wants to run.
	"ignore_scripts=false",
	"dangerously_allow_all_scripts=true", // npm 11's allowScripts policy, package.json's refusals included
	"strict_allow_scripts=false",
	"dry_run=false", "package_lock=true", "package_lock_only=false",
	"global=false", "location=user", "if_present=false",
	"version=false", "versions=false", "usage=false", "long=false",
	"production=null", "only=null", "also=null", "optional=null", "dev=false",
	"os=linux", "cpu=x64", "libc=null", // what the sandbox is; "null" would be taken for a name
	"bin_links=true", "rebuild_bundle=true", "install_links=false",
	"install_strategy=hoisted", "global_style=false", "legacy_bundling=false",
	"force=false", "engine_strict=false", "workspaces=null", "include_workspace_root=true",
	"allow_git=all", "allow_remote=all", "allow_file=all", "allow_directory=all",
	// Run it with the system's own tools.
	"script_shell=sh", "node_options=null", "git=git", "shell=/bin/sh", "umask=0022",
	// Through our registry only, patiently from the cache.
	"replace_registry_host=always", "prefer_offline=true", "offline=false", "prefer_online=false",
	"cache_max=99999", "cache_min=0", "before=null", "min_release_age=null", "tag=latest",
	"proxy=null", "https_proxy=null", "noproxy=127.0.0.1,localhost", "local_address=null",
	"cafile=/dev/null", "ca=null", "cert=null", "key=null", "strict_ssl=true", "otp=null",
	"maxsockets=15", "fetch_retries=1", "fetch_retry_factor=2", "fetch_retry_mintimeout=200", "fetch_retry_maxtimeout=1000",
	"fetch_timeout=300000",
	// Quietly, but with what scripts print.
	"foreground_scripts=true", "loglevel=error", "progress=false", "color=false", "unicode=false",
	"audit=false", "fund=false", "update_notifier=false", "timing=false", "json=false", "logs_max=0", "heading=npm",
}

// switches are given on the command line, because the environment can't say an
// empty value or a list.
var switches = [...]string{
	"--include=prod", "--include=dev", "--include=optional", "--include=peer", // outranks every omit
	"--scope=",
}

// Recipe returns `npm ci` with every setting that matters given explicitly.
//
// Install scripts run one after the other (foreground_scripts), with their
// output passed through: otherwise npm keeps all of it in its own memory and
// shows none.
func (Manager) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	r := ecosystem.Recipe{Version: RecipeVersion, Argv: append([]string{"npm", "ci"}, switches[:]...), Withhold: []string{configName},
		Programs: []ecosystem.Program{{Name: "npm", Hint: "install Node.js, which brings it"}, {Name: "node", Hint: "install Node.js"}},
		Image:    Name, Registry: ecosystem.RegistryNPM, Cache: CacheDir,
		Own:   []string{path.Join(s.Work, "node_modules") + "/", path.Join(s.Home, CacheDir) + "/", "/tmp/npm-"},
		Steps: node.ImportSteps(p, s, node.Loading{Scripts: true})}
	for _, scope := range node.Scopes(p, s.Scopes) {
		r.Argv = append(r.Argv, "--"+scope+":registry="+s.Registry)
	}
	for _, v := range settings {
		r.Env = append(r.Env, "npm_config_"+v)
	}
	r.Env = append(r.Env,
		"HOME="+s.Home,
		"npm_config_registry="+s.Registry,
		"npm_config_cache="+path.Join(s.Home, CacheDir),
		"npm_config_logs_dir="+path.Join(s.Home, CacheDir, "_logs"),
		"npm_config_userconfig="+path.Join(s.Home, ".npmrc"),
		"npm_config_globalconfig="+path.Join(s.Home, ".npmrc.global"),
	)
	for _, key := range slices.Sorted(maps.Keys(p.Settings)) {
		if slices.Contains(keptSettings[:], key) {
			r.Env = append(r.Env, "npm_config_"+strings.ReplaceAll(key, "-", "_")+"="+p.Settings[key])
		}
	}
	if s.NodeDir != "" {
		r.Env = append(r.Env, "npm_config_nodedir="+s.NodeDir)
	}
	if s.Prepared {
		r.Env = append(r.Env, "NODE_OPTIONS=--require="+path.Join(s.Home, CacheDir, preparedDir, preparedScript))
	}
	return r
}

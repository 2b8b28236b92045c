package pnpm

import (
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
)

// kept are the keys of a project's .npmrc that decide where packages are put,
// or without which the lockfile may not be taken for that of the manifests.
// Their values are words.
var kept = []string{
	"node-linker", "hoist", "shamefully-hoist", "hoist-pattern", "public-hoist-pattern", "hoist-workspace-packages",
	"auto-install-peers", "exclude-links-from-lockfile", "dedupe-peer-dependents", "dedupe-direct-deps", "dedupe-injected-deps",
	"strict-peer-dependencies", "resolve-peers-from-workspace-root", "link-workspace-packages", "prefer-workspace-packages",
	"inject-workspace-packages", "shared-workspace-lockfile", "peers-suffix-max-length",
}

// config reads what configures pnpm in the source. The .npmrc is withheld, but
// for what is kept; pnpm-workspace.yaml is not, since it says what the workspace
// is, and the recipe outranks what could divert the install. Noted is what the
// scan does not apply though it changes what runs.
func (r *reader) config() {
	r.keepBool("auto-install-peers", r.lock.Settings.AutoInstallPeers)
	r.keepBool("exclude-links-from-lockfile", r.lock.Settings.ExcludeLinks)
	r.npmrc()
	if tree.Exists(r.fsys, path.Join(r.root, hooksName)) {
		r.Problems.Add("%s is code that runs in pnpm's own process; the scan withholds it", path.Join(r.root, hooksName))
	}
	file := path.Join(r.root, workspaceName)
	w, err := readWorkspace(r.fsys, r.root)
	if err != nil {
		if tree.Exists(r.fsys, file) {
			r.Problems.Add("%s can't be read: %.200s", file, err)
		}
		return
	}
	if len(w.ConfigDependencies) > 0 {
		r.Problems.Add("%s has configDependencies, whose code runs in pnpm's own process: pnpm reports what it does as the manager's", file)
	}
	if w.Pnpmfile != nil || w.GlobalPnpmfile != nil {
		r.Problems.Add("%s names a pnpmfile, code that runs in pnpm's own process; the scan does not apply it", file)
	}
	if w.ScriptShell != "" {
		r.Problems.Add("%s sets scriptShell to %.100q, which the scan does not apply", file, w.ScriptShell)
	}
	if w.NodeOptions != "" && !strings.HasPrefix(w.NodeOptions, "--max-old-space-size=") {
		r.Problems.Add("%s sets nodeOptions to %.100q, which the scan does not apply", file, w.NodeOptions)
	}
}

func (r *reader) npmrc() {
	b, err := tree.Read(r.fsys, path.Join(r.root, configName), maxWorkspace)
	if err != nil {
		return // most projects have none
	}
	lists := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		key, list := strings.CutSuffix(strings.Trim(strings.TrimSpace(key), `"'`), "[]")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch {
		case !slices.Contains(kept, key) || strings.ContainsAny(value, "$\x00\n"):
			if key == "script-shell" || key == "pnpmfile" || key == "global-pnpmfile" || key == "node-options" && !strings.HasPrefix(value, "--max-old-space-size=") {
				r.Problems.Add("%s sets %s to %.100q, which the scan does not apply", path.Join(r.root, configName), key, value)
			}
		case list:
			lists[key] = append(lists[key], value)
		default:
			r.keep(key, value)
		}
	}
	for key, values := range lists {
		r.keep(key, strings.Join(values[:min(len(values), node.MaxProblems)], ","))
	}
}

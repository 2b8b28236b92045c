package node

import "slices"

// ManifestName is the manifest's file name.
const ManifestName = "package.json"

// MaxManifest is the largest manifest that is read, in bytes.
const MaxManifest = 4 << 20

// Sections are the manifest's dependency maps.
var Sections = []string{"dependencies", "devDependencies", "optionalDependencies", "peerDependencies"}

// HasDependencies reports whether a manifest asks for anything.
func HasDependencies(manifest Object) bool {
	return slices.ContainsFunc(Sections, func(s string) bool { return len(manifest.Sub(s)) > 0 }) || len(Workspaces(manifest)) > 0
}

// Declared returns what a manifest (or a lockfile entry) asks for. A name in
// optionalDependencies counts there only, as npm has it.
func Declared(o Object) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, s := range Sections {
		out[s] = o.StringMap(s)
	}
	for name := range out["optionalDependencies"] {
		delete(out["dependencies"], name)
	}
	return out
}

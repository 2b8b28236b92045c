package npm

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// sections are the manifest's dependency maps that npm copies into the
// lockfile.
var sections = [...]string{"dependencies", "devDependencies", "optionalDependencies", "peerDependencies"}

func hasDependencies(manifest object) bool {
	return slices.ContainsFunc(sections[:], func(s string) bool { return len(manifest.sub(s)) > 0 }) || len(workspaces(manifest)) > 0
}

// declared returns what a manifest (or a lockfile entry) asks for. A name in
// optionalDependencies counts there only, as npm has it.
func declared(o object) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, s := range sections {
		out[s] = o.stringMap(s)
	}
	for name := range out["optionalDependencies"] {
		delete(out["dependencies"], name)
	}
	return out
}

// disagreements lists where a lockfile entry differs from the manifest of the
// folder dir that it describes.
func disagreements(dir string, manifest, entry object) []string {
	var out []string
	want, have := declared(manifest), declared(entry)
	for _, s := range sections {
		names := slices.Sorted(maps.Keys(want[s]))
		for _, name := range names {
			got, ok := have[s][name]
			switch spec := want[s][name]; {
			case !ok:
				out = append(out, fmt.Sprintf("the lockfile lacks %s %.100q of %s", s, name, path.Join(dir, manifestName)))
			case got != spec:
				out = append(out, fmt.Sprintf("the lockfile has %s %.100q as %.100q, %s as %.100q", s, name, got, path.Join(dir, manifestName), spec))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(have[s])) {
			if _, ok := want[s][name]; !ok {
				out = append(out, fmt.Sprintf("the lockfile has %s %.100q, %s has not", s, name, path.Join(dir, manifestName)))
			}
		}
	}
	if a, b := workspaces(manifest), workspaces(entry); !slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
		out = append(out, fmt.Sprintf("the lockfile's workspaces %.200q differ from %.200q in %s", b, a, path.Join(dir, manifestName)))
	}
	return out
}

// memberDisagreements compares the lockfile's entry of a workspace member with
// the member's own manifest. A member without a readable manifest is told.
func memberDisagreements(fsys fs.FS, root, key string, entry object) []string {
	m, _, err := readObject(fsys, path.Join(root, key, manifestName), MaxManifest)
	if err != nil {
		return []string{fmt.Sprintf("the lockfile links %.200q, which has no readable %s", key, manifestName)}
	}
	return disagreements(key, m, entry)
}

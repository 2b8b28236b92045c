package npm

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
)

// disagreements lists where a lockfile entry differs from the manifest of the
// folder dir that it describes.
func disagreements(dir string, manifest, entry node.Object) []string {
	var out []string
	want, have := node.Declared(manifest), node.Declared(entry)
	for _, s := range node.Sections {
		names := slices.Sorted(maps.Keys(want[s]))
		for _, name := range names {
			got, ok := have[s][name]
			switch spec := want[s][name]; {
			case !ok:
				out = append(out, fmt.Sprintf("the lockfile lacks %s %.100q of %s", s, name, path.Join(dir, node.ManifestName)))
			case got != spec:
				out = append(out, fmt.Sprintf("the lockfile has %s %.100q as %.100q, %s as %.100q", s, name, got, path.Join(dir, node.ManifestName), spec))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(have[s])) {
			if _, ok := want[s][name]; !ok {
				out = append(out, fmt.Sprintf("the lockfile has %s %.100q, %s has not", s, name, path.Join(dir, node.ManifestName)))
			}
		}
	}
	if a, b := node.Workspaces(manifest), node.Workspaces(entry); !slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
		out = append(out, fmt.Sprintf("the lockfile's workspaces %.200q differ from %.200q in %s", b, a, path.Join(dir, node.ManifestName)))
	}
	return out
}

// memberDisagreements compares the lockfile's entry of a workspace member with
// the member's own manifest. A member without a readable manifest is told.
func memberDisagreements(fsys fs.FS, root, key string, entry node.Object) []string {
	m, _, err := node.ReadObject(fsys, path.Join(root, key, node.ManifestName), MaxManifest)
	if err != nil {
		return []string{fmt.Sprintf("the lockfile links %.200q, which has no readable %s", key, node.ManifestName)}
	}
	return disagreements(key, m, entry)
}

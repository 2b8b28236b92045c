package node

import (
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// MaxImports bounds the dependencies of a project that are loaded.
const MaxImports = 500

// Imports lists the direct production dependencies of the packages in the given
// folders, relative to root, by their manifests: "." is the project itself.
// find says which package a dependency is, and that it is not one of the
// project's own (ok). A manifest that can't be read has none: Load reports it.
func Imports(fsys fs.FS, root string, folders []string, find func(from, name, spec string) (p finding.Package, ok bool)) []ecosystem.Import {
	var out []ecosystem.Import
	seen := map[finding.Package]bool{}
	for _, from := range folders {
		m, _, err := ReadObject(fsys, path.Join(root, from, ManifestName), MaxManifest)
		if err != nil {
			continue
		}
		want := Declared(m)
		specs := want["dependencies"]
		maps.Copy(specs, want["optionalDependencies"])
		for _, name := range slices.Sorted(maps.Keys(specs)) {
			if !ValidName(name) || len(out) == MaxImports {
				continue
			}
			p, ok := find(from, name, specs[name])
			if !ok || seen[p] && p != (finding.Package{}) {
				continue
			}
			seen[p] = true
			out = append(out, ecosystem.Import{Name: name, From: from, Package: p})
		}
	}
	return out
}

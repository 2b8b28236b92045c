package node

import (
	"io/fs"
	"slices"

	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
)

// Lockfiles are those of every manager of Node.js, by its name.
var Lockfiles = map[string][]string{
	"npm":  {"npm-shrinkwrap.json", "package-lock.json"},
	"pnpm": {"pnpm-lock.yaml"},
	"yarn": {"yarn.lock"},
	"bun":  {"bun.lock", "bun.lockb"},
}

// Detect returns the folders that hold one of the lockfiles, sorted, without
// those that an enclosing one of them claims as a member of its workspace:
// members returns a root's patterns. That a manifest is missing, or is none of
// this name, is Load's to report. Errors are those of tree.Find.
func Detect(fsys fs.FS, lockfiles []string, members func(fsys fs.FS, root string) []string) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(lockfiles...))
	if err != nil {
		return nil, err
	}
	claims := map[string][]string{}
	var roots []string
	for dir := range found {
		roots = append(roots, dir)
		claims[dir] = members(fsys, dir)
	}
	slices.Sort(roots)
	return slices.DeleteFunc(roots, func(dir string) bool {
		for root, patterns := range claims {
			if rel, below := tree.Below(root, dir); below && MatchWorkspace(patterns, rel) {
				return true
			}
		}
		return false
	}), nil
}

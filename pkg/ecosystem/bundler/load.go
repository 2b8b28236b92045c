package bundler

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// pairs are the two ways to name a manifest and its lockfile.
var pairs = [...][2]string{{"Gemfile", "Gemfile.lock"}, {"gems.rb", "gems.locked"}}

// Detect returns the folders with a Gemfile and its lockfile. If there is none
// in the source, it returns the topmost folders with a Gemfile that names gems,
// so that Load can say what is missing.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named("Gemfile", "Gemfile.lock", "gems.rb", "gems.locked"))
	if err != nil {
		return nil, err
	}
	var locked, loose []string
	for dir, names := range found {
		for _, pair := range pairs {
			switch {
			case slices.Contains(names, pair[0]) && slices.Contains(names, pair[1]):
				locked = append(locked, dir)
			case slices.Contains(names, pair[0]):
				loose = append(loose, dir)
			}
		}
	}
	slices.Sort(locked)
	if locked = slices.Compact(locked); len(locked) > 0 {
		return locked, nil
	}
	return slices.DeleteFunc(tree.Topmost(loose), func(dir string) bool {
		for _, pair := range pairs {
			b, err := tree.Read(fsys, path.Join(dir, pair[0]), MaxManifest)
			if err == nil && (strings.Contains(string(b), "gem") || strings.Contains(string(b), "source")) {
				return false
			}
		}
		return true
	}), nil
}

// Load reads the lockfile of root. Everything malformed, missing or hostile is
// fault.Invalid (too large: fault.TooLarge) and names the file.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	for _, pair := range pairs {
		name := path.Join(root, pair[1])
		b, err := tree.Read(fsys, name, MaxLockfile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ecosystem.Project{}, fmt.Errorf("bundler: %w", err)
		}
		l, err := parse(b)
		if err != nil {
			return ecosystem.Project{}, fmt.Errorf("bundler: %s: %w", name, err)
		}
		return ecosystem.Project{Manager: Name, Root: root, Lockfile: pair[1], Digest: tree.Digest(b), Packages: l.packages, Problems: l.problems,
			Settings: map[string]string{settingManifest: pair[0]}}, nil
	}
	return ecosystem.Project{}, fault.Errorf(fault.Invalid, "bundler: %s has no Gemfile.lock: without one, what gets installed is not pinned; run `bundle lock` there and commit the result", path.Join(root, "Gemfile"))
}

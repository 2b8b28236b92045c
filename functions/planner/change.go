package planner

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/gitlab"
)

// Comparer says what differs between two commits of a project.
type Comparer interface {
	// Compare lists what differs, since the commits' common base if base is set.
	// A commit that isn't known is gitlab.ErrNotFound.
	Compare(ctx context.Context, project, from, to string, base bool) (gitlab.Changes, error)
	// Digest is the SHA-256 of a file at a commit, in hex; gitlab.ErrNotFound
	// where there is no such file.
	Digest(ctx context.Context, project, sha, path string) (string, error)
}

var _ Comparer = (*gitlab.Client)(nil)

// maxLooks bounds the roots that are looked at one by one for a push. Beyond,
// all are scanned.
const maxLooks = 50

// change is from where to where a project moved.
type change struct {
	to       Comparer
	project  string
	from, at string // commits
	base     bool   // what counts is the difference since their common base
	// manifests are the files that say what an install does, by manager.
	manifests map[string][]string
}

// manifests asks the managers which files say what their installs do.
func manifests(managers []ecosystem.Manager) map[string][]string {
	out := map[string][]string{}
	for _, m := range managers {
		if w, ok := m.(ecosystem.Watched); ok {
			out[m.Name()] = w.Manifests()
		}
	}
	return out
}

// touched reports which of a source's projects a change touched in a manifest or
// lockfile. Where that can't be told (nothing before, a comparison that may be
// cut, a package manager it does not know), the project counts as touched: a
// comparison names what to scan, and is never alone the reason not to.
func (c change) touched(ctx context.Context, projects []ecosystem.Project) ([]bool, error) {
	all := slices.Repeat([]bool{true}, len(projects))
	if c.to == nil || c.from == "" || strings.Trim(c.from, "0") == "" {
		return all, nil
	}
	changes, err := c.to.Compare(ctx, c.project, c.from, c.at, c.base)
	if errors.Is(err, gitlab.ErrNotFound) { // a force push, say, whose old commits are gone
		return all, nil
	}
	if err != nil || !changes.Complete {
		return all, err
	}
	named := c.named(projects, changes.Paths)
	looks := 0
	for i, p := range projects {
		if named[i] || p.Lockfile == "" {
			named[i] = true
			continue
		}
		if looks++; looks > maxLooks {
			return all, nil
		}
		same, err := c.same(ctx, p)
		if err != nil {
			return nil, err
		}
		named[i] = !same
	}
	return named, nil
}

// named reports which projects one of the paths belongs to: that with the
// longest root above a manifest.
func (c change) named(projects []ecosystem.Project, paths []string) []bool {
	named := make([]bool, len(projects))
	for i, p := range projects {
		_, known := c.manifests[p.Manager]
		named[i] = !known
	}
	for _, changed := range paths {
		depth := -1
		for _, p := range projects {
			if d := under(changed, p.Root); d > depth && c.concerns(p, changed) {
				depth = d
			}
		}
		for i, p := range projects {
			if depth >= 0 && under(changed, p.Root) == depth && c.concerns(p, changed) {
				named[i] = true
			}
		}
	}
	return named
}

// under returns how deep a path's root is, -1 if the path is not below it.
func under(p, root string) int {
	switch {
	case root == ".":
		return 0
	case strings.HasPrefix(p, root+"/"):
		return 1 + strings.Count(root, "/")
	}
	return -1
}

// same reports whether a project's lockfile is what it was before.
func (c change) same(ctx context.Context, p ecosystem.Project) (bool, error) {
	before, err := c.to.Digest(ctx, c.project, c.from, path.Join(p.Root, p.Lockfile))
	if errors.Is(err, gitlab.ErrNotFound) {
		return false, nil
	}
	return err == nil && "sha256:"+before == p.Digest, err
}

// concerns reports whether a file is one that a project's install depends on.
func (c change) concerns(p ecosystem.Project, file string) bool {
	name := path.Base(file)
	return slices.Contains(c.manifests[p.Manager], name) || name == path.Base(p.Lockfile)
}

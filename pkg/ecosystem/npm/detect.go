package npm

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"

	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
)

// lockfileNames in npm's order of precedence.
var lockfileNames = [...]string{"npm-shrinkwrap.json", "package-lock.json"}

// otherLockfiles are those of the other managers of Node.js.
var otherLockfiles = slices.Concat(node.Lockfiles["pnpm"], node.Lockfiles["yarn"], node.Lockfiles["bun"])

// Detect returns the folders that hold a package.json and a lockfile and are
// not workspace members of another root, sorted. If there is none, it returns
// the topmost folders whose package.json has dependencies but no lockfile, so
// that Load can say what is missing; not those that another manager's lockfile
// is in or above.
//
// A tree that exceeds MaxWalk entries is fault.TooLarge: a root could hide
// behind the limit. Folders named node_modules and those of version control
// are not looked into, nor is anything deeper than MaxDepth.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := walk(fsys)
	if err != nil {
		return nil, err
	}
	var locked, loose, others []string
	for dir, has := range found {
		if has.other {
			others = append(others, dir)
		}
		switch {
		case has.manifest && has.lockfile:
			locked = append(locked, dir)
		case has.manifest:
			loose = append(loose, dir)
		}
	}
	slices.Sort(locked)
	if len(locked) > 0 {
		return withoutMembers(fsys, locked)
	}
	slices.Sort(loose)
	loose = slices.DeleteFunc(loose, func(dir string) bool { // another manager's project, or a part of it
		return slices.ContainsFunc(others, func(top string) bool { _, ok := below(top, dir); return ok || top == dir })
	})
	return needy(fsys, loose)
}

type files struct{ manifest, lockfile, other bool }

func walk(fsys fs.FS) (map[string]files, error) {
	found := map[string]files{}
	seen := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) && name != "." {
				return fs.SkipDir
			}
			return err
		}
		if seen++; seen > MaxWalk {
			return fault.Errorf(fault.TooLarge, "more than %d files and folders to search", MaxWalk)
		}
		if d.IsDir() {
			switch d.Name() {
			case "node_modules", ".git", ".hg", ".svn":
				return fs.SkipDir
			}
			if strings.Count(name, "/") >= MaxDepth {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		dir := path.Dir(name)
		has := found[dir]
		switch base := path.Base(name); {
		case base == node.ManifestName:
			has.manifest = true
		case slices.Contains(lockfileNames[:], base):
			has.lockfile = true
		case slices.Contains(otherLockfiles, base):
			has.other = true
		default:
			return nil
		}
		found[dir] = has
		return nil
	})
	if err != nil && fault.KindOf(err) == fault.Transient {
		err = fault.New("npm: search", fault.Invalid, err)
	}
	return found, err
}

// withoutMembers drops the roots that an enclosing root claims as workspaces.
func withoutMembers(fsys fs.FS, roots []string) ([]string, error) {
	claims := map[string][]string{}
	for _, root := range roots {
		m, _, err := node.ReadObject(fsys, path.Join(root, node.ManifestName), MaxManifest)
		if err != nil {
			continue // Load reports it, with the file's name
		}
		claims[root] = node.Workspaces(m)
	}
	var out []string
	for _, dir := range roots {
		if !slices.ContainsFunc(roots, func(root string) bool {
			rel, ok := below(root, dir)
			return ok && node.MatchWorkspace(claims[root], rel)
		}) {
			out = append(out, dir)
		}
	}
	return out, nil
}

// needy returns the topmost of dirs whose manifest names dependencies.
func needy(fsys fs.FS, dirs []string) ([]string, error) {
	var out []string
	for _, dir := range dirs {
		if slices.ContainsFunc(out, func(top string) bool { _, ok := below(top, dir); return ok }) {
			continue
		}
		m, _, err := node.ReadObject(fsys, path.Join(dir, node.ManifestName), MaxManifest)
		if err != nil || node.HasDependencies(m) {
			out = append(out, dir) // an unreadable manifest is Load's to report
		}
	}
	return out, nil
}

// below returns dir relative to root, if dir is strictly inside it.
func below(root, dir string) (string, bool) {
	if root == dir {
		return "", false
	}
	if root == "." {
		return dir, true
	}
	return strings.CutPrefix(dir, root+"/")
}

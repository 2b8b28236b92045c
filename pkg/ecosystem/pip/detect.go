package pip

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
)

// folder of requirements files, "requirements/dev.txt".
const folder = "requirements"

// isRequirements reports whether a file of that name may be a requirements
// file: "requirements.txt", "requirements-dev.txt", "dev-requirements.txt".
func isRequirements(base string) bool {
	stem, ok := strings.CutSuffix(base, ".txt")
	return ok && (strings.HasPrefix(stem, folder) || strings.HasSuffix(stem, "-"+folder) || strings.HasSuffix(stem, "_"+folder))
}

// Detect returns the folders that have requirements files, of their own or in
// a folder named requirements. If there are none in the source, nor a lockfile
// of another manager for Python, it returns the topmost folders with a setup.py
// that asks for something, so that Load can say what is missing.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, func(base string) bool {
		return strings.HasSuffix(base, ".txt") || slices.Contains([]string{"setup.py", "poetry.lock", "uv.lock"}, base)
	})
	if err != nil {
		return nil, err
	}
	var roots, loose []string
	locked := false
	for dir, names := range found {
		switch {
		case path.Base(dir) == folder && slices.ContainsFunc(names, isText):
			roots = append(roots, path.Dir(dir))
		case slices.ContainsFunc(names, isRequirements):
			roots = append(roots, dir)
		case slices.Contains(names, "setup.py"):
			loose = append(loose, dir)
		}
		locked = locked || slices.Contains(names, "poetry.lock") || slices.Contains(names, "uv.lock")
	}
	slices.Sort(roots)
	if roots = slices.Compact(roots); len(roots) > 0 || locked {
		return roots, nil
	}
	return slices.DeleteFunc(tree.Topmost(loose), func(dir string) bool {
		b, err := tree.Read(fsys, path.Join(dir, "setup.py"), MaxFile)
		return err == nil && !strings.Contains(string(b), "_require") // install_requires, setup_requires: unread ones are Load's to report
	}), nil
}

func isText(base string) bool { return strings.HasSuffix(base, ".txt") }

// files lists the requirements files of a root, relative to it, sorted;
// requirements.txt is the first.
func files(fsys fs.FS, root string) []string {
	var out []string
	for dir, want := range map[string]func(string) bool{".": isRequirements, folder: isText} {
		entries, err := fs.ReadDir(fsys, path.Join(root, dir))
		if err != nil {
			continue // most projects have one of the two
		}
		for _, e := range entries {
			if e.Type().IsRegular() && want(e.Name()) {
				out = append(out, path.Join(dir, e.Name()))
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if first := "requirements.txt"; a == first || b == first {
			return strings.Compare(boolKey(a == first), boolKey(b == first))
		}
		return strings.Compare(a, b)
	})
	return out
}

func boolKey(first bool) string {
	if first {
		return "0"
	}
	return "1"
}

// Package tree finds and reads the manifests and lockfiles of a source.
//
// The source is hostile: looking for files is bounded in entries and depth,
// reading is bounded in bytes and takes regular files only, and nothing is
// ever executed. Errors are fault.Invalid, or fault.TooLarge for what is
// beyond a limit, and name the file; an error of the file system that is none
// of the source's is returned as it is.
package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Limits on what is looked at.
const (
	MaxWalk  = 500_000 // directory entries looked at by Find
	MaxDepth = 32      // folders below the top that Find descends to
)

// skipped are folders that hold no project of the source's own: version
// control, what package managers installed there, and what they built.
var skipped = []string{".git", ".hg", ".svn", "node_modules", "site-packages", "__pycache__", ".venv", ".tox", ".nox"}

// Find returns the regular files that want accepts by their base name, by
// folder, sorted. Exceeding MaxWalk is fault.TooLarge: something could hide
// behind the limit.
func Find(fsys fs.FS, want func(base string) bool) (map[string][]string, error) {
	found := map[string][]string{}
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
		switch {
		case d.IsDir():
			if slices.Contains(skipped, d.Name()) || strings.Count(name, "/") >= MaxDepth {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && want(d.Name()):
			dir := path.Dir(name)
			found[dir] = append(found[dir], d.Name())
		}
		return nil
	})
	if err != nil && fault.KindOf(err) == fault.Transient {
		err = fault.New("search", fault.Invalid, err)
	}
	return found, err
}

// Named is a Find condition: one of these base names.
func Named(names ...string) func(string) bool {
	return func(base string) bool { return slices.Contains(names, base) }
}

// Read returns the content of a regular file of at most limit bytes. A missing
// file satisfies fs.ErrNotExist and is fault.Invalid, like every other fault
// of the source.
func Read(fsys fs.FS, name string, limit int64) ([]byte, error) {
	b, err := read(fsys, name, limit)
	if err != nil && fault.KindOf(err) == fault.Transient {
		err = fault.New("", fault.Invalid, err)
	}
	return b, err
}

func read(fsys fs.FS, name string, limit int64) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, fault.Errorf(fault.Invalid, "%.200q is not a file of the source", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Errorf(fault.Invalid, "%s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fault.Errorf(fault.TooLarge, "%s: larger than %d bytes", name, limit)
	}
	return b, nil
}

// Exists reports whether there is a file or folder of that name.
func Exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// Digest is "sha256:<hex>" of the content.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Below returns dir relative to root, if dir is strictly inside it.
func Below(root, dir string) (string, bool) {
	if root == dir {
		return "", false
	}
	if root == "." {
		return dir, true
	}
	return strings.CutPrefix(dir, root+"/")
}

// Topmost sorts dirs and leaves out those that lie below another one.
func Topmost(dirs []string) []string {
	slices.Sort(dirs)
	var out []string
	for _, dir := range dirs {
		if !slices.ContainsFunc(out, func(top string) bool { _, ok := Below(top, dir); return ok }) {
			out = append(out, dir)
		}
	}
	return out
}

// Package usage tells which packages with install scripts give the program that
// depends on them nothing but that script: they have no code to load and no
// program to run, or nobody who depends on them ever mentions them. A
// dependency that was added for its hook looks like that.
//
// It reads packages as they were unpacked, before anything runs; it executes
// nothing. What is read is bounded, and in doubt a package is taken for used:
// an answer is a reason to look, no proof.
package usage

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// Limits. Beyond them a package counts as used.
const (
	maxManifest  = 1 << 20  // bytes of a package.json
	maxPackages  = 20_000   // whose manifests are read
	maxFiles     = 4_000    // files of one dependent that are searched
	maxBytes     = 64 << 20 // bytes of one dependent that are searched
	maxCode      = 10       // code files of a package without an entry point
	maxSuspected = 200      // packages that are looked at
)

// manifest is what is read of a package.json. Fields of any type are kept raw:
// other tools read them as they like.
type manifest struct {
	Main, Module, Browser, Exports, Bin, Directories, Types, Typings, Style, Sass, Less, Unpkg, Jsdelivr json.RawMessage
	Dependencies, OptionalDependencies, DevDependencies                                                  map[string]json.RawMessage
}

// HookOnly returns the paths of such packages among p's, which lie unpacked in
// fsys, the project's root.
func HookOnly(fsys fs.FS, p ecosystem.Project) map[string]bool {
	out := map[string]bool{}
	var rest []ecosystem.Package
	for _, pkg := range p.Packages {
		if !pkg.HasScripts || pkg.Link || !fs.ValidPath(pkg.Path) || len(out)+len(rest) >= maxSuspected {
			continue
		}
		m, ok := read(fsys, pkg.Path)
		switch {
		case !ok: // the package manager unpacks it later
		case hollow(fsys, pkg.Path, m):
			out[pkg.Path] = true
		case m.Bin == nil && m.Directories == nil:
			rest = append(rest, pkg)
		}
	}
	if len(rest) == 0 {
		return out
	}
	dependents := dependentsOf(fsys, p)
	for _, pkg := range rest {
		name := nameAt(pkg.Path)
		if by := dependents[name]; len(by) > 0 && !slices.ContainsFunc(by, func(dir string) bool { return dir == "." || mentions(fsys, dir, name) }) {
			out[pkg.Path] = true
		}
	}
	return out
}

// nameAt is the name by which a package is required: that of its folder.
func nameAt(p string) string {
	_, name, ok := cutLast(p, "node_modules/")
	if !ok {
		return p
	}
	return name
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func read(fsys fs.FS, dir string) (m manifest, ok bool) {
	f, err := fsys.Open(path.Join(dir, "package.json"))
	if err != nil {
		return m, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	return m, err == nil && json.Unmarshal(b, &m) == nil
}

// hollow reports whether a package has nothing to load and nothing to run.
func hollow(fsys fs.FS, dir string, m manifest) bool {
	for _, field := range []json.RawMessage{m.Module, m.Browser, m.Exports, m.Bin, m.Directories, m.Types, m.Typings, m.Style, m.Sass, m.Less, m.Unpkg, m.Jsdelivr} {
		if field != nil {
			return false
		}
	}
	if exists(fsys, dir, "binding.gyp") { // what is loaded is built first
		return false
	}
	var entry string
	_ = json.Unmarshal(m.Main, &entry) // anything but a string is no entry
	for _, name := range []string{entry, "index"} {
		for _, ending := range []string{"", ".js", ".json", ".node", ".cjs", ".mjs", "/index.js", "/index.json", "/index.node"} {
			if name != "" && exists(fsys, dir, path.Clean(name)+ending) {
				return false
			}
		}
	}
	n := 0
	files(fsys, dir, func(string, fs.DirEntry) bool { n++; return n <= maxCode })
	return n <= maxCode
}

// exists reports whether a package has a file of that name.
func exists(fsys fs.FS, dir, name string) bool {
	p := path.Join(dir, name)
	if !strings.HasPrefix(p, dir+"/") {
		return false
	}
	info, err := fs.Stat(fsys, p)
	return err == nil && !info.IsDir()
}

// files calls visit for each file of code of a package, its own dependencies
// left out, until visit returns false. An error of the file system ends it.
func files(fsys fs.FS, dir string, visit func(name string, d fs.DirEntry) bool) {
	_ = fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error { // visit says when it is enough
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "node_modules" && name != dir:
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || name == path.Join(dir, "package.json"):
			return nil
		}
		switch path.Ext(name) {
		case ".js", ".cjs", ".mjs", ".ts", ".jsx", ".json", ".node", ".wasm", ".gyp", ".gypi", ".css", ".scss", ".less":
			if !visit(name, d) {
				return fs.SkipAll
			}
		}
		return nil
	})
}

// dependentsOf lists, by name, the folders of the packages that ask for it; "."
// is the project, whose own sources may use it in ways that no file here shows.
func dependentsOf(fsys fs.FS, p ecosystem.Project) map[string][]string {
	out := map[string][]string{}
	add := func(dir string) {
		m, ok := read(fsys, dir)
		if !ok {
			return
		}
		lists := []map[string]json.RawMessage{m.Dependencies, m.OptionalDependencies}
		if dir == "." {
			lists = append(lists, m.DevDependencies)
		}
		for _, list := range lists {
			for name := range list {
				out[name] = append(out[name], dir)
			}
		}
	}
	add(".")
	for _, pkg := range p.Packages[:min(len(p.Packages), maxPackages)] {
		if fs.ValidPath(pkg.Path) && !pkg.Link {
			add(pkg.Path)
		}
	}
	return out
}

// mentions reports whether a package's code has the name in it, in whatever
// way, or is too much to be searched.
func mentions(fsys fs.FS, dir, name string) bool {
	found, n, size := false, 0, int64(0)
	files(fsys, dir, func(file string, d fs.DirEntry) bool {
		info, err := d.Info()
		if err != nil {
			found = true
			return false
		}
		if n, size = n+1, size+info.Size(); n > maxFiles || size > maxBytes {
			found = true
			return false
		}
		b, err := fs.ReadFile(fsys, file)
		found = err != nil || bytes.Contains(b, []byte(name))
		return !found
	})
	return found
}

package npm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Load reads the project at root: its manifest and its lockfile of version 2
// or 3. Everything malformed, missing or hostile is fault.Invalid (too large:
// fault.TooLarge) and names the file; what is merely suspect is a Problem.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	p, err := load(fsys, root)
	if err != nil && fault.KindOf(err) == fault.Transient {
		err = fault.New("", fault.Invalid, err)
	}
	return p, err
}

func load(fsys fs.FS, root string) (ecosystem.Project, error) {
	if !fs.ValidPath(root) {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "npm: %.200q is not a folder of the source", root)
	}
	manifest, _, err := node.ReadObject(fsys, path.Join(root, node.ManifestName), MaxManifest)
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("npm: %w", err)
	}
	name, lock, raw, err := readLockfile(fsys, root)
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("npm: %w", err)
	}
	sum := sha256.Sum256(raw)
	r := reader{fsys: fsys, root: root, file: path.Join(root, name)}
	if err := r.read(lock, manifest); err != nil {
		return ecosystem.Project{}, fmt.Errorf("npm: %s: %w", r.file, err)
	}
	kept := r.config()
	return ecosystem.Project{
		Manager: Name, Root: root, Lockfile: name,
		Digest:   "sha256:" + hex.EncodeToString(sum[:]),
		Packages: r.packages,
		Problems: r.listProblems(),
		Settings: kept,
		Imports:  r.imports(),
	}, nil
}

func readLockfile(fsys fs.FS, root string) (name string, lock node.Object, raw []byte, err error) {
	for _, name := range lockfileNames {
		lock, raw, err := node.ReadObject(fsys, path.Join(root, name), MaxLockfile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return name, lock, raw, err
	}
	hint := "run `npm install --package-lock-only` there and commit the result"
	return "", nil, nil, fault.Errorf(fault.Invalid, "%s has no package-lock.json: without one, what gets installed is not pinned; %s",
		path.Join(root, node.ManifestName), hint)
}

// imports lists what the project and its members load: what npm installed
// closest to them.
func (r *reader) imports() []ecosystem.Import {
	at := map[string]ecosystem.Package{}
	folders := []string{"."}
	for _, p := range r.packages {
		at[p.Path] = p
		if p.Link && !strings.Contains("/"+p.Path, "/"+modules) {
			folders = append(folders, p.Path)
		}
	}
	return node.Imports(r.fsys, r.root, folders, func(from, name, _ string) (finding.Package, bool) {
		for dir := from; ; dir = path.Dir(dir) {
			if p, ok := at[path.Join(dir, modules, name)]; ok {
				return p.Package, !p.Link
			}
			if dir == "." || dir == "/" {
				return finding.Package{}, false // a member, or an optional one that the lockfile leaves out
			}
		}
	})
}

// reader turns a lockfile into packages and problems.
type reader struct {
	fsys     fs.FS
	root     string
	file     string
	packages []ecosystem.Package
	problems []string
	unlisted int // problems beyond MaxProblems
}

func (r *reader) problem(format string, args ...any) {
	if len(r.problems) >= MaxProblems {
		r.unlisted++
		return
	}
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *reader) listProblems() []string {
	if r.unlisted == 0 {
		return r.problems
	}
	return append(r.problems, fmt.Sprintf("and %d more problems like these", r.unlisted))
}

func (r *reader) read(lock, manifest node.Object) error {
	if err := checkVersion(lock["lockfileVersion"]); err != nil {
		return err
	}
	entries, err := node.ParseObject(lock["packages"])
	if err != nil {
		return fault.Errorf(fault.Invalid, `"packages": %w`, err)
	}
	if len(entries) > MaxPackages {
		return fault.Errorf(fault.TooLarge, "%d entries, more than %d", len(entries), MaxPackages)
	}
	if _, ok := entries[""]; !ok && node.HasDependencies(manifest) {
		r.problem("the lockfile has no entry for the project itself")
	}
	links := linkTargets(entries)
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		entry, err := node.ParseObject(entries[key])
		if err != nil {
			return fault.Errorf(fault.Invalid, "entry %.200q: %w", key, err)
		}
		if key == "" {
			for _, d := range disagreements(".", manifest, entry) {
				r.problem("%s", d)
			}
			continue
		}
		if err := r.entry(key, entry, links[key]); err != nil {
			return fault.Errorf(fault.Invalid, "entry %.200q: %w", key, err)
		}
	}
	return nil
}

func checkVersion(raw []byte) error {
	v, err := strconv.Atoi(string(raw))
	switch {
	case err != nil:
		return fault.Errorf(fault.Invalid, "lockfileVersion %.40q is not a number", raw)
	case v == 1:
		return fault.Errorf(fault.Invalid, "lockfile version 1 does not say where packages are installed; run `npm install --package-lock-only` with npm 7 or later to upgrade it")
	case v != 2 && v != 3:
		return fault.Errorf(fault.Invalid, "lockfile version %d is not supported: want 2 or 3", v)
	}
	return nil
}

// linkTargets maps the folders that link entries point to to the entry that
// links them.
func linkTargets(entries node.Object) map[string]string {
	out := map[string]string{}
	for key := range entries {
		e, err := node.ParseObject(entries[key])
		if err != nil || !e.Truthy("link") {
			continue
		}
		if to, err := e.Str("resolved"); err == nil && to != "" {
			out[to] = key
		}
	}
	return out
}

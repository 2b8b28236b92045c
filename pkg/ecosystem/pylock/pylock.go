// Package pylock has the ecosystem.Managers for the projects of poetry and uv.
// What their lockfiles pin is installed with pip: the same archives are built
// and unpacked in the same way, and neither of the two has to be there.
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxLockfile bytes,
//     MaxPackages packages.
//   - A package that no hash pins, or that does not come from an index, is a
//     Problem.
package pylock

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pip"
	"github.com/falconer-sec/falconer/pkg/ecosystem/toml"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Limits on what is read from a project.
const (
	MaxLockfile = 32 << 20 // bytes
	MaxPackages = 20_000
	MaxProblems = 100
	maxVersion  = 256 // bytes
)

// Poetry and UV are the two managers. Their zero values are ready to use and
// safe for concurrent use.
type (
	Poetry struct{}
	UV     struct{}
)

var (
	_ ecosystem.Watched = Poetry{}
	_ ecosystem.Watched = UV{}
)

// Names of the managers' lockfiles.
const (
	poetryLock = "poetry.lock"
	uvLock     = "uv.lock"
)

// Name returns "poetry".
func (Poetry) Name() string { return "poetry" }

// Name returns "uv".
func (UV) Name() string { return "uv" }

// Manifests implements ecosystem.Watched.
func (Poetry) Manifests() []string { return []string{poetryLock, "pyproject.toml"} }

// Manifests implements ecosystem.Watched.
func (UV) Manifests() []string { return []string{uvLock, "pyproject.toml"} }

// Detect returns the folders with a poetry.lock.
func (Poetry) Detect(fsys fs.FS) ([]string, error) { return detect(fsys, poetryLock) }

// Detect returns the folders with a uv.lock: a workspace has one at its root.
func (UV) Detect(fsys fs.FS) ([]string, error) { return detect(fsys, uvLock) }

// Load reads poetry.lock of root. Everything malformed, missing or hostile is
// fault.Invalid (too large: fault.TooLarge) and names the file.
func (Poetry) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	return load(fsys, root, "poetry", poetryLock)
}

// Load reads uv.lock of root, with the errors of Poetry's.
func (UV) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	return load(fsys, root, "uv", uvLock)
}

// Versions of the recipes; they change whenever the recipe does.
const (
	PoetryRecipe = "poetry-1"
	UVRecipe     = "uv-1"
)

// Recipe returns pip's installation of what poetry.lock pins, but for extras.
func (Poetry) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	return pip.Install(PoetryRecipe, p, s, "--no-deps", "--require-hashes", "--lock="+poetryLock)
}

// Recipe returns pip's installation of what uv.lock pins.
func (UV) Recipe(p ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	return pip.Install(UVRecipe, p, s, "--no-deps", "--require-hashes", "--lock="+uvLock)
}

// Place is pip's.
func (Poetry) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	return pip.Manager{}.Place(p, s, e)
}

// Place is pip's.
func (UV) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	return pip.Manager{}.Place(p, s, e)
}

func detect(fsys fs.FS, lockfile string) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(lockfile))
	if err != nil {
		return nil, err
	}
	var out []string
	for dir := range found {
		out = append(out, dir)
	}
	slices.Sort(out)
	return out, nil
}

func load(fsys fs.FS, root, manager, lockfile string) (ecosystem.Project, error) {
	name := path.Join(root, lockfile)
	b, err := tree.Read(fsys, name, MaxLockfile)
	if errors.Is(err, fs.ErrNotExist) {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "%s: there is no %s", manager, name)
	}
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("%s: %w", manager, err)
	}
	doc, err := toml.Parse(b)
	if err != nil {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "%s: %s: %w", manager, name, err)
	}
	p := ecosystem.Project{Manager: manager, Root: root, Lockfile: lockfile, Digest: tree.Digest(b)}
	entries := doc.Tables("package")
	if doc["package"] != nil && entries == nil {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, `%s: %s: "package" is no list of packages`, manager, name)
	}
	if len(entries) > MaxPackages {
		return ecosystem.Project{}, fault.Errorf(fault.TooLarge, "%s: %s: more than %d packages", manager, name, MaxPackages)
	}
	older := doc.Table("metadata").Table("files")
	for _, e := range entries {
		if err := entry(&p, e, older); err != nil {
			return ecosystem.Project{}, fmt.Errorf("%s: %s: %w", manager, name, err)
		}
	}
	slices.SortStableFunc(p.Packages, func(a, b ecosystem.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return p, nil
}

// entry reads one package of either lockfile. older is where poetry before 1.3
// kept the files.
func entry(p *ecosystem.Project, e, older toml.Table) error {
	name, version := e.String("name"), e.String("version")
	source := e.Table("source")
	if source["virtual"] != nil || source["editable"] != nil || source["directory"] != nil || source.String("type") == "directory" {
		return nil // the project itself, or a folder of its source
	}
	if !pip.ValidName(name) || version == "" || len(version) > maxVersion || strings.ContainsAny(version, " \t\r\n;@") {
		return fault.Errorf(fault.Invalid, "package %.100q %.100q is none", name, version)
	}
	problem := func(format string, args ...any) {
		if len(p.Problems) < MaxProblems {
			p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
		}
	}
	pkg := pip.Package(name, version)
	pkg.Optional, _ = e["optional"].(bool)
	if len(source) > 0 && source["registry"] == nil && source.String("type") != "legacy" {
		pkg.Foreign = true
		problem("%s %s does not come from an index", pkg.Name, version)
		p.Packages = append(p.Packages, pkg)
		return nil
	}
	hashes := hashesOf(e, older.Tables(name))
	sri, ok := pip.Integrity(hashes)
	if !ok {
		return fault.Errorf(fault.Invalid, "package %s has a hash that is none", pkg.Name)
	}
	if len(hashes) == 0 {
		problem("%s %s has no hash", pkg.Name, version)
	}
	pkg.Integrity = sri
	p.Packages = append(p.Packages, pkg)
	return nil
}

// hashesOf lists the hashes of a package's files.
func hashesOf(e toml.Table, older []toml.Table) []string {
	files := slices.Concat(e.Tables("files"), e.Tables("wheels"))
	if sdist := e.Table("sdist"); sdist != nil {
		files = append(files, sdist)
	}
	if len(files) == 0 {
		files = older
	}
	var out []string
	for _, f := range files {
		if h := f.String("hash"); h != "" {
			out = append(out, h)
		}
	}
	return out
}

package cargo

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/toml"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

var (
	validName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	validVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]*)?$`)
)

// Detect returns the folders with a Cargo.toml and a Cargo.lock: a workspace
// has one at its root. If there is none in the source, it returns the topmost
// folders whose Cargo.toml has dependencies, so that Load can say what is
// missing.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(manifestName, lockfileName))
	if err != nil {
		return nil, err
	}
	var locked, loose []string
	for dir, names := range found {
		switch {
		case len(names) == 2:
			locked = append(locked, dir)
		case names[0] == manifestName:
			loose = append(loose, dir)
		}
	}
	if slices.Sort(locked); len(locked) > 0 {
		return locked, nil
	}
	return slices.DeleteFunc(tree.Topmost(loose), func(dir string) bool {
		b, err := tree.Read(fsys, path.Join(dir, manifestName), MaxManifest)
		return err == nil && !strings.Contains(string(b), "dependencies") && !strings.Contains(string(b), "workspace")
	}), nil
}

// Load reads the project at root: its Cargo.lock. Everything malformed, missing
// or hostile is fault.Invalid (too large: fault.TooLarge) and names the file.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := path.Join(root, lockfileName)
	b, err := tree.Read(fsys, name, MaxLockfile)
	if errors.Is(err, fs.ErrNotExist) {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "cargo: %s has no Cargo.lock: without one, what gets built is not pinned; run `cargo generate-lockfile` there and commit the result", path.Join(root, manifestName))
	}
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("cargo: %w", err)
	}
	doc, err := toml.Parse(b)
	if err != nil {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "cargo: %s: %w", name, err)
	}
	p := ecosystem.Project{Manager: Name, Root: root, Lockfile: lockfileName, Digest: tree.Digest(b)}
	if p.Packages, p.Problems, err = packages(doc); err != nil {
		return ecosystem.Project{}, fmt.Errorf("cargo: %s: %w", name, err)
	}
	return p, nil
}

func packages(doc toml.Table) (out []ecosystem.Package, problems []string, err error) {
	if v, ok := doc["version"].(int64); doc["version"] != nil && (!ok || v < 1 || v > 4) {
		return nil, nil, fault.Errorf(fault.Invalid, "version %.40q of the lockfile is not supported: want 1 to 4", fmt.Sprint(doc["version"]))
	}
	entries := doc.Tables("package")
	if doc["package"] != nil && entries == nil {
		return nil, nil, fault.Errorf(fault.Invalid, `"package" is no list of packages`)
	}
	if len(entries) > MaxPackages {
		return nil, nil, fault.Errorf(fault.TooLarge, "%d packages, more than %d", len(entries), MaxPackages)
	}
	var l list
	for _, e := range entries {
		if err := l.entry(e, doc.Table("metadata")); err != nil {
			return nil, nil, err
		}
	}
	if len(l.registries) > 1 {
		l.problem("packages come from %d registries, for which one folder of crates stands", len(l.registries))
	}
	slices.SortFunc(l.packages, func(a, b ecosystem.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return l.packages, l.problems, nil
}

// list is what a lockfile lists.
type list struct {
	packages   []ecosystem.Package
	registries []string
	problems   []string
}

func (l *list) problem(format string, args ...any) {
	if len(l.problems) < MaxProblems {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// entry reads one package. One without a source is a member of the workspace
// or a folder of the source: the project's own code. Lockfiles of version 1
// have checksums in a table of their own.
func (l *list) entry(e, metadata toml.Table) error {
	name, version, source := e.String("name"), e.String("version"), e.String("source")
	if len(name) > maxName || len(version) > maxName || !validName.MatchString(name) || !validVersion.MatchString(version) {
		return fault.Errorf(fault.Invalid, "package %.100q %.100q is none", name, version)
	}
	if source == "" {
		return nil
	}
	p := ecosystem.Package{Package: finding.Package{Name: name, Version: version}, Resolved: source}
	var from packageurl.Qualifiers
	registry := strings.HasPrefix(source, "registry+") || strings.HasPrefix(source, "sparse+")
	if !registry {
		p.Foreign = true
		from = packageurl.Qualifiers{{Key: "vcs_url", Value: source}}
		l.problem("%s %s does not come from a registry (%.100q)", name, version, source)
	} else if !slices.Contains(l.registries, source) {
		l.registries = append(l.registries, source)
	}
	p.PURL = packageurl.NewPackageURL(packageurl.TypeCargo, "", name, version, from, "").ToString()
	sum := e.String("checksum")
	if sum == "" {
		sum = metadata.String("checksum " + name + " " + version + " (" + source + ")")
	}
	raw, err := hex.DecodeString(sum)
	switch {
	case err != nil || len(raw) != 32 && sum != "":
		return fault.Errorf(fault.Invalid, "package %s has a checksum that is none", name)
	case sum != "":
		p.Integrity = "sha256-" + base64.StdEncoding.EncodeToString(raw)
	case registry:
		l.problem("%s %s has no checksum", name, version)
	}
	l.packages = append(l.packages, p)
	return nil
}

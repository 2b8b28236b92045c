package composer

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

var (
	validName    = regexp.MustCompile(`^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$`)
	validVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./#+-]*$`)
)

// object is a JSON object whose keys are looked up exactly.
type object map[string]any

func (o object) str(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) sub(key string) object {
	m, _ := o[key].(map[string]any)
	return m
}

// Detect returns the folders with a composer.json and a composer.lock. If there
// is none in the source, it returns the topmost folders whose composer.json
// requires something, so that Load can say what is missing. Folders named
// vendor are not looked at.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(manifestName, lockfileName))
	if err != nil {
		return nil, err
	}
	var locked, loose []string
	for dir, names := range found {
		switch {
		case slices.Contains(strings.Split(dir, "/"), "vendor"):
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
		o, _, err := read(fsys, path.Join(dir, manifestName), MaxManifest)
		return err == nil && len(o.sub("require")) == 0 && len(o.sub("require-dev")) == 0
	}), nil
}

func read(fsys fs.FS, name string, limit int64) (object, []byte, error) {
	b, err := tree.Read(fsys, name, limit)
	if err != nil {
		return nil, nil, err
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, nil, fault.Errorf(fault.Invalid, "%s: %w", name, err)
	}
	if o == nil {
		return nil, nil, fault.Errorf(fault.Invalid, "%s: not a JSON object", name)
	}
	return o, b, nil
}

// Load reads composer.lock of root. Everything malformed, missing or hostile is
// fault.Invalid (too large: fault.TooLarge) and names the file.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := path.Join(root, lockfileName)
	o, b, err := read(fsys, name, MaxLockfile)
	if errors.Is(err, fs.ErrNotExist) {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "composer: %s has no composer.lock: without one, what gets installed is not pinned; run `composer update --no-install` there and commit the result", path.Join(root, manifestName))
	}
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("composer: %w", err)
	}
	p := ecosystem.Project{Manager: Name, Root: root, Lockfile: lockfileName, Digest: tree.Digest(b)}
	for _, key := range []string{"packages", "packages-dev"} {
		list, ok := o[key].([]any)
		if !ok && o[key] != nil {
			return ecosystem.Project{}, fault.Errorf(fault.Invalid, "composer: %s: %q is no list", name, key)
		}
		for _, e := range list {
			if err := entry(&p, e, key == "packages-dev"); err != nil {
				return ecosystem.Project{}, fmt.Errorf("composer: %s: %w", name, err)
			}
		}
	}
	slices.SortStableFunc(p.Packages, func(a, b ecosystem.Package) int { return strings.Compare(a.Name, b.Name) })
	return p, nil
}

// entry reads one package. Plugins are what has code that runs at the install.
func entry(p *ecosystem.Project, raw any, dev bool) error {
	m, ok := raw.(map[string]any)
	e := object(m)
	name, version, kind := e.str("name"), e.str("version"), e.str("type")
	if !ok || len(name) > maxName || len(version) > maxName || !validName.MatchString(name) || !validVersion.MatchString(version) {
		return fault.Errorf(fault.Invalid, "package %.100q %.100q is none", name, version)
	}
	if len(p.Packages) >= MaxPackages {
		return fault.Errorf(fault.TooLarge, "more than %d packages", MaxPackages)
	}
	problem := func(format string, args ...any) {
		if len(p.Problems) < MaxProblems {
			p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
		}
	}
	vendor, base, _ := strings.Cut(name, "/")
	pkg := ecosystem.Package{Package: finding.Package{Name: name, Version: version, Path: "vendor/" + name,
		PURL: packageurl.NewPackageURL(packageurl.TypeComposer, vendor, base, version, nil, "").ToString()},
		Resolved: e.sub("dist").str("url"), Dev: dev, HasScripts: kind == "composer-plugin" || kind == "composer-installer"}
	switch archive := e.sub("dist"); {
	case kind == "metapackage":
		pkg.Path = ""
	case archive.str("type") == "path":
		return nil // a folder of the source: the project's own
	case archive.str("type") != "zip" && archive.str("type") != "tar":
		pkg.Foreign = true
		problem("%s %s has no archive (%.40q)", name, version, archive.str("type"))
	default:
		raw, err := hex.DecodeString(archive.str("shasum"))
		if err != nil || len(raw) != 20 && len(raw) != 0 {
			return fault.Errorf(fault.Invalid, "package %s has a checksum that is none", name)
		}
		if len(raw) > 0 {
			pkg.Integrity = "sha1-" + base64.StdEncoding.EncodeToString(raw)
		}
	}
	p.Packages = append(p.Packages, pkg)
	return nil
}

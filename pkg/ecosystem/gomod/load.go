package gomod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Settings of a project.
const (
	settingVendored = "vendored" // "true" if the project brings its modules
	settingDirect   = "direct"   // modules that the project itself imports from, a line each
)

// Detect returns the folders with a go.mod that requires something, those in
// folders named testdata or vendor excepted: the go command ignores them, too.
func (Manager) Detect(fsys fs.FS) ([]string, error) {
	found, err := tree.Find(fsys, tree.Named(manifestName))
	if err != nil {
		return nil, err
	}
	var out []string
	for dir := range found {
		parts := strings.Split(dir, "/")
		if slices.Contains(parts, "testdata") || slices.Contains(parts, "vendor") {
			continue
		}
		b, err := tree.Read(fsys, path.Join(dir, manifestName), MaxFile)
		if err != nil || strings.Contains(string(b), "require") {
			out = append(out, dir) // an unreadable one is Load's to report
		}
	}
	slices.Sort(out)
	return out, nil
}

// Load reads go.mod and go.sum of root. Everything malformed, missing or
// hostile is fault.Invalid (too large: fault.TooLarge) and names the file.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := path.Join(root, manifestName)
	manifest, err := tree.Read(fsys, name, MaxFile)
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("go: %w", err)
	}
	mod, err := modfile.Parse(name, manifest, nil)
	if err != nil {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "go: %w", err)
	}
	lock := lockfileName
	sums, err := tree.Read(fsys, path.Join(root, lockfileName), MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		lock, err = manifestName, nil // every module is a Problem then
	}
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("go: %w", err)
	}
	if len(mod.Require) > MaxPackages {
		return ecosystem.Project{}, fault.Errorf(fault.TooLarge, "go: %s requires %d modules, more than %d", name, len(mod.Require), MaxPackages)
	}
	p := ecosystem.Project{Manager: Name, Root: root, Lockfile: lock, Digest: tree.Digest(slices.Concat(manifest, []byte{0}, sums)),
		Settings: map[string]string{settingVendored: fmt.Sprint(tree.Exists(fsys, path.Join(root, "vendor", "modules.txt")))}}
	hashes, err := parseSums(sums)
	if err != nil {
		return ecosystem.Project{}, fmt.Errorf("go: %s: %w", path.Join(root, lockfileName), err)
	}
	if err := fill(&p, mod, hashes); err != nil {
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "go: %s: %w", name, err)
	}
	return p, nil
}

// parseSums reads go.sum: module, version (with "/go.mod" for that file's hash)
// and hash. It returns the modules' versions that have a hash.
func parseSums(b []byte) (map[string]bool, error) {
	out := map[string]bool{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fault.Errorf(fault.Invalid, "line %d: %.60q is not a module, a version and a hash", n, line)
		}
		out[f[0]+"@"+strings.TrimSuffix(f[1], "/go.mod")] = true
	}
	return out, nil
}

// fill lists the modules of the build. The error names one that can't be.
func fill(p *ecosystem.Project, mod *modfile.File, hashes map[string]bool) error {
	problem := func(format string, args ...any) {
		if len(p.Problems) < MaxProblems {
			p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
		}
	}
	replaced := map[string]*modfile.Replace{}
	for _, r := range mod.Replace {
		replaced[r.Old.Path] = r
	}
	var direct []string
	for _, r := range mod.Require {
		at := r.Mod
		if to := replaced[at.Path]; to != nil && (to.Old.Version == "" || to.Old.Version == at.Version) {
			if to.New.Version == "" {
				continue // a folder: the project's own
			}
			problem("%s %s is replaced with %s %s", at.Path, at.Version, to.New.Path, to.New.Version)
			at = to.New
		}
		if err := module.Check(at.Path, at.Version); err != nil {
			return err
		}
		if !hashes[at.Path+"@"+at.Version] {
			problem("%s %s has no hash in go.sum", at.Path, at.Version)
		}
		dir, base := path.Split(at.Path)
		p.Packages = append(p.Packages, ecosystem.Package{Package: finding.Package{Name: at.Path, Version: at.Version,
			PURL: packageurl.NewPackageURL(packageurl.TypeGolang, strings.TrimSuffix(dir, "/"), base, at.Version, nil, "").ToString()}})
		if !r.Indirect {
			direct = append(direct, r.Mod.Path)
		}
	}
	slices.SortStableFunc(p.Packages, func(a, b ecosystem.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	slices.Sort(direct)
	p.Settings[settingDirect] = strings.Join(slices.Compact(direct), "\n")
	return nil
}

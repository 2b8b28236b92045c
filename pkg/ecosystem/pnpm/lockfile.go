package pnpm

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// lockfile is what is read of a pnpm-lock.yaml. Versions 6 and 9 differ in how
// they write a package's key, and in where its flags stand.
type lockfile struct {
	Version  any `yaml:"lockfileVersion"`
	Settings struct {
		AutoInstallPeers *bool `yaml:"autoInstallPeers"`
		ExcludeLinks     *bool `yaml:"excludeLinksFromLockfile"`
	} `yaml:"settings"`
	Importers map[string]importer `yaml:"importers"`
	Packages  map[string]pkg      `yaml:"packages"`
	Snapshots map[string]struct {
		Optional bool `yaml:"optional"`
	} `yaml:"snapshots"`
	// Of a version 6 without a workspace, which has no importers.
	Dependencies map[string]dependency `yaml:"dependencies"`
	Optional     map[string]dependency `yaml:"optionalDependencies"`
}

type importer struct {
	Dependencies map[string]dependency `yaml:"dependencies"`
	Optional     map[string]dependency `yaml:"optionalDependencies"`
}

type dependency struct {
	Version string `yaml:"version"`
}

type pkg struct {
	Resolution struct {
		Integrity string `yaml:"integrity"`
		Tarball   string `yaml:"tarball"`
		Type      string `yaml:"type"`
		Repo      string `yaml:"repo"`
		Commit    string `yaml:"commit"`
		Directory string `yaml:"directory"`
	} `yaml:"resolution"`
	Name          string   `yaml:"name"`
	Version       string   `yaml:"version"`
	OS            []string `yaml:"os"`
	CPU           []string `yaml:"cpu"`
	Libc          []string `yaml:"libc"`
	RequiresBuild bool     `yaml:"requiresBuild"`
	Optional      bool     `yaml:"optional"`
	Dev           bool     `yaml:"dev"`
}

// Load reads the project at root: its manifest and its lockfile of version 6 or
// 9. Everything malformed, missing or hostile is fault.Invalid (too large:
// fault.TooLarge) and names the file; what is merely suspect is a Problem.
// Whether the lockfile is that of the manifests pnpm itself checks
// (--frozen-lockfile), with the project's overrides and catalogs applied.
func (Manager) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	raw, err := tree.Read(fsys, path.Join(root, lockfileName), maxLockfile)
	if err != nil {
		return ecosystem.Project{}, fault.New("pnpm", fault.KindOf(err), err)
	}
	if _, _, err := node.ReadObject(fsys, path.Join(root, node.ManifestName), node.MaxManifest); err != nil {
		return ecosystem.Project{}, fault.New("pnpm", fault.Invalid, err)
	}
	r := reader{fsys: fsys, root: root}
	if err := r.read(raw); err != nil {
		return ecosystem.Project{}, fault.New("pnpm: "+path.Join(root, lockfileName), fault.KindOf(invalid(err)), err)
	}
	r.config()
	return ecosystem.Project{
		Manager: Name, Root: root, Lockfile: lockfileName, Digest: tree.Digest(raw),
		Packages: r.Packages(), Problems: r.Problems.List(), Settings: r.settings, Imports: r.imports(),
	}, nil
}

// invalid gives an error that has no kind one.
func invalid(err error) error {
	if fault.KindOf(err) == fault.Transient {
		return fault.New("", fault.Invalid, err)
	}
	return err
}

// reader turns a lockfile into packages and problems.
type reader struct {
	node.Entries
	fsys     fs.FS
	root     string
	lock     lockfile
	settings map[string]string
}

func (r *reader) read(raw []byte) error {
	if err := decode(raw, lockfileWork, &r.lock); err != nil {
		return err
	}
	version := fmt.Sprint(r.lock.Version)
	major, _, _ := strings.Cut(version, ".")
	if major != "6" && major != "9" {
		return fault.Errorf(fault.Invalid, "lockfile version %.40q is not supported: want 6 or 9; run `pnpm install --lockfile-only` with pnpm 9 or later", version)
	}
	if len(r.lock.Importers) == 0 {
		r.lock.Importers = map[string]importer{".": {r.lock.Dependencies, r.lock.Optional}}
	}
	for _, key := range slices.Sorted(maps.Keys(r.lock.Packages)) {
		if err := r.entry(key, r.lock.Packages[key]); err != nil {
			return err
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(r.lock.Importers)) {
		if err := r.member(dir); err != nil {
			return err
		}
	}
	return nil
}

// entry reads one package.
func (r *reader) entry(key string, e pkg) error {
	name, version := splitKey(key)
	if e.Name != "" { // of a source that is no registry, in version 6
		name = e.Name
	}
	if !node.ValidName(name) {
		return fault.Errorf(fault.Invalid, "entry %.200q is not a name and a version", key)
	}
	if e.Version != "" { // of a source that is no registry
		version = e.Version
	}
	p := ecosystem.Package{
		Package: finding.Package{Name: name, Version: version}, Integrity: e.Resolution.Integrity, Resolved: e.Resolution.Tarball,
		HasScripts: e.RequiresBuild, Optional: e.Optional || r.lock.Snapshots[key].Optional, Dev: e.Dev, OS: e.OS, CPU: e.CPU, Libc: e.Libc,
	}
	switch {
	case e.Resolution.Type == "directory" || e.Resolution.Directory != "":
		p.Link, p.Path = true, path.Clean(e.Resolution.Directory)
		if path.IsAbs(p.Path) || !fs.ValidPath(path.Join(r.root, p.Path)) {
			return fault.Errorf(fault.Invalid, "entry %.200q: the path leaves the source", key)
		}
	case e.Resolution.Repo != "":
		p.Foreign, p.Resolved = true, "git+"+e.Resolution.Repo+"#"+e.Resolution.Commit
	case strings.HasPrefix(e.Resolution.Tarball, "file:"):
		p.Foreign = true
	default:
		p.Path = storePath(name, version)
	}
	return r.Add(key, p, false)
}

// splitKey reads "name@1.0.0(peer@2.0.0)", in version 6 with a slash before. The
// version is "" where an address stands in its place.
func splitKey(key string) (name, version string) {
	key, _, _ = strings.Cut(strings.TrimPrefix(key, "/"), "(")
	i := strings.IndexByte(key[min(1, len(key)):], '@') + 1 // the first, but for a scope's
	if i == 0 {
		return "", ""
	}
	if name, version = key[:i], key[i+1:]; !node.ValidVersion(version) {
		version = ""
	}
	return name, version
}

// storePath is where pnpm puts a package that has no peers.
func storePath(name, version string) string {
	return "node_modules/.pnpm/" + strings.ReplaceAll(name, "/", "+") + "@" + version + "/node_modules/" + name
}

// member takes up a package of the workspace.
func (r *reader) member(dir string) error {
	if dir == "." {
		return nil
	}
	if path.Clean(dir) != dir || path.IsAbs(dir) || !fs.ValidPath(path.Join(r.root, dir)) {
		return fault.Errorf(fault.Invalid, "importer %.200q is not a folder of the source", dir)
	}
	m, _, err := node.ReadObject(r.fsys, path.Join(r.root, dir, node.ManifestName), node.MaxManifest)
	if err != nil {
		r.Problems.Add("the lockfile has %.200q, which has no readable %s", dir, node.ManifestName)
		return nil
	}
	name, _ := m.Str("name")
	version, _ := m.Str("version")
	if !node.ValidName(name) {
		name, version = path.Base(dir), ""
	}
	if !node.ValidName(name) {
		return nil // nothing of it can be named
	}
	return r.Add(dir, ecosystem.Package{Package: finding.Package{Name: name, Version: version, Path: dir}, Link: true}, true)
}

// imports lists what is loaded: the lockfile says which version each is.
func (r *reader) imports() []ecosystem.Import {
	byKey := map[string]finding.Package{}
	for _, p := range r.Packages() {
		if !p.Link {
			byKey[p.Name+"@"+p.Version] = p.Package
		}
	}
	folders := slices.Sorted(maps.Keys(r.lock.Importers))
	return node.Imports(r.fsys, r.root, folders, func(from, name, _ string) (finding.Package, bool) {
		in := r.lock.Importers[from]
		d, ok := in.Dependencies[name]
		if !ok {
			d, ok = in.Optional[name]
		}
		if !ok || strings.HasPrefix(d.Version, "link:") {
			return finding.Package{}, ok && !strings.HasPrefix(d.Version, "link:")
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(d.Version, "/"), "(")
		if p, ok := byKey[name+"@"+key]; ok {
			return p, true
		}
		return byKey[key], true // an alias: "is-number@7.0.0"
	})
}

// keep notes a setting for the recipe.
func (r *reader) keep(name, value string) {
	if r.settings == nil {
		r.settings = map[string]string{}
	}
	r.settings[name] = value
}

func (r *reader) keepBool(name string, value *bool) {
	if value != nil {
		r.keep(name, strconv.FormatBool(*value))
	}
}

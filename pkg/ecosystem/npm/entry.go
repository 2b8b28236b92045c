package npm

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

const modules = "node_modules/"

var (
	validName    = regexp.MustCompile(`^(@[A-Za-z0-9~!*'()_-][A-Za-z0-9~!*'()._-]*/)?[A-Za-z0-9~!*'()_-][A-Za-z0-9~!*'()._-]*$`)
	validVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]*)?$`)
)

// maxName bounds a package name and a version, in bytes (npm allows 214).
const maxName = 256

// ValidName reports whether name can be a package's name in a registry,
// including the older, looser rules.
func ValidName(name string) bool {
	return len(name) <= maxName && validName.MatchString(name) && name != "node_modules"
}

// ValidVersion reports whether version has the form of a semantic version.
func ValidVersion(version string) bool {
	return len(version) <= maxName && validVersion.MatchString(version)
}

// PURL returns the package URL of a registry package.
func PURL(name, version string) string {
	return purl(ecosystem.Package{Package: finding.Package{Name: name, Version: version}})
}

// purl names the source of a package that is not a registry's, so that it is
// not taken for the registry's package of that name.
func purl(p ecosystem.Package) string {
	var from packageurl.Qualifiers
	if u, err := url.Parse(p.Resolved); err == nil && p.Foreign {
		u.User = nil
		key := "download_url"
		if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
			key = "vcs_url"
		}
		from = packageurl.Qualifiers{{Key: key, Value: u.String()}}
	}
	scope, base := splitName(p.Name)
	return packageurl.NewPackageURL(packageurl.TypeNPM, scope, base, p.Version, from, "").ToString()
}

func splitName(name string) (scope, base string) {
	if i := strings.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// entry reads one lockfile entry. linkedBy is the key of the link entry that
// points to it, "" if none does.
func (r *reader) entry(key string, e object, linkedBy string) error {
	name, inModules, err := r.nameOf(key)
	if err != nil {
		return err
	}
	p := ecosystem.Package{
		Package:    finding.Package{Path: key},
		HasScripts: e.truthy("hasInstallScript"),
		Optional:   e.truthy("optional"),
		Dev:        e.truthy("dev"),
		Link:       e.truthy("link"),
		Bundled:    e.truthy("inBundle"),
		OS:         e.strings("os"), CPU: e.strings("cpu"), Libc: e.strings("libc"),
	}
	alias, err1 := e.str("name")
	version, err2 := e.str("version")
	integrity, err3 := e.str("integrity")
	resolved, err4 := e.str("resolved")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	p.Name, p.Version, p.Integrity, p.Resolved = name, version, integrity, resolved
	if alias != "" {
		if !ValidName(alias) {
			return fmt.Errorf("name %.100q is not a package name", alias)
		}
		p.Name = alias
	}
	switch {
	case p.Link:
		if p.Resolved == "" {
			return nil // the project linked into its own node_modules
		}
		if _, _, err := r.nameOf(p.Resolved); err != nil {
			return fmt.Errorf("link to %.200q: %w", p.Resolved, err)
		}
		return nil // its target has an entry of its own
	case !inModules:
		r.member(key, e, p, linkedBy)
		return nil
	}
	if version != "" && !ValidVersion(version) {
		return fmt.Errorf("version %.100q is not a semantic version", version)
	}
	r.suspect(&p)
	p.PURL = purl(p)
	r.packages = append(r.packages, p)
	return nil
}

// member adds a workspace member or the target of a file: link: code of the
// source itself, so it has no package URL.
func (r *reader) member(key string, e object, p ecosystem.Package, linkedBy string) {
	if linkedBy == "" {
		r.problem("entry %.200q is neither installed nor linked", key)
	}
	if p.Name == "" {
		p.Name = strings.TrimPrefix(linkedBy, modules)
	}
	p.Link, p.Resolved, p.Integrity = true, "", ""
	r.packages = append(r.packages, p)
	for _, d := range memberDisagreements(r.fsys, r.root, key, e) {
		r.problem("%s", d)
	}
}

// nameOf checks a lockfile key (an install path relative to the root) and
// returns the package name it ends in, if it lies in a node_modules folder.
func (r *reader) nameOf(key string) (name string, inModules bool, err error) {
	if key == "" || path.Clean(key) != key || path.IsAbs(key) || strings.ContainsAny(key, "\\\x00") {
		return "", false, errors.New("not a relative path in its shortest form")
	}
	if at := path.Join(r.root, key); at == ".." || strings.HasPrefix(at, "../") {
		return "", false, errors.New("the path leaves the source")
	}
	if len(key) > 4096 {
		return "", false, errors.New("the path is too long")
	}
	i := strings.LastIndex("/"+key, "/"+modules)
	if i < 0 {
		return "", false, nil
	}
	name = key[i+len(modules):]
	if !ValidName(name) {
		return "", false, fmt.Errorf("%.100q is not a package name", name)
	}
	return name, true, nil
}

// suspect notes what makes an installed entry untrustworthy.
func (r *reader) suspect(p *ecosystem.Package) {
	who := p.Name + "@" + p.Version
	if p.Version == "" {
		r.problem("%s has no version", p.Path)
	}
	kind, detail := source(*p)
	p.Foreign = kind == foreign
	switch kind {
	case foreign:
		if strings.HasPrefix(p.Resolved, "file:") {
			break // comes with the source; npm finds it there
		}
		r.problem("%s comes from %s, not from a registry: it can't be fetched inside the sandbox", who, detail)
	case otherPackage:
		r.problem("%s is said to come from %s, which names another package", who, detail)
	}
	if p.Integrity == "" && !p.Bundled && kind != foreign {
		r.problem("%s has no integrity: its content is not pinned", who)
	}
}

type sourceKind int

const (
	registry     sourceKind = iota
	foreign                 // git, an http tarball, a file
	otherPackage            // a registry's archive of another name or version
)

// source judges where an entry comes from by its resolved address. Registries
// serve archives as NAME/-/BASE-VERSION.tgz; some as NAME/VERSION/DIGEST.
func source(p ecosystem.Package) (sourceKind, string) {
	if p.Resolved == "" {
		return registry, ""
	}
	u, err := url.Parse(p.Resolved)
	if err != nil {
		return foreign, "an unreadable address"
	}
	shown := fmt.Sprintf("%.200q", u.Redacted())
	if u.Scheme != "https" && u.Scheme != "http" {
		return foreign, shown
	}
	_, base := splitName(p.Name)
	switch where, file, ok := strings.Cut(u.Path, "/-/"); {
	case ok:
		if strings.HasSuffix(where, "/"+p.Name) && path.Base(file) == base+"-"+p.Version+".tgz" {
			return registry, ""
		}
		return otherPackage, shown
	case strings.Contains(u.Path, "/"+p.Name+"/"+p.Version+"/"):
		return registry, ""
	}
	return foreign, shown
}

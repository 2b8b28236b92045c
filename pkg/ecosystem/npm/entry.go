package npm

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/finding"
)

const modules = "node_modules/"

// entry reads one lockfile entry. linkedBy is the key of the link entry that
// points to it, "" if none does.
func (r *reader) entry(key string, e node.Object, linkedBy string) error {
	name, inModules, err := r.nameOf(key)
	if err != nil {
		return err
	}
	p := ecosystem.Package{
		Package:    finding.Package{Path: key},
		HasScripts: e.Truthy("hasInstallScript"),
		Optional:   e.Truthy("optional"),
		Dev:        e.Truthy("dev"),
		Link:       e.Truthy("link"),
		Bundled:    e.Truthy("inBundle"),
		OS:         e.Strings("os"), CPU: e.Strings("cpu"), Libc: e.Strings("libc"),
	}
	alias, err1 := e.Str("name")
	version, err2 := e.Str("version")
	integrity, err3 := e.Str("integrity")
	resolved, err4 := e.Str("resolved")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	p.Name, p.Version, p.Integrity, p.Resolved = name, version, integrity, resolved
	if alias != "" {
		if !node.ValidName(alias) {
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
	if version != "" && !node.ValidVersion(version) {
		return fmt.Errorf("version %.100q is not a semantic version", version)
	}
	r.suspect(&p)
	p.PURL = node.PackageURL(p)
	r.packages = append(r.packages, p)
	return nil
}

// member adds a workspace member or the target of a file: link: code of the
// source itself, so it has no package URL.
func (r *reader) member(key string, e node.Object, p ecosystem.Package, linkedBy string) {
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
	if !node.ValidName(name) {
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
	kind, detail := node.Source(*p)
	p.Foreign = kind == node.Foreign
	switch kind {
	case node.Foreign:
		if strings.HasPrefix(p.Resolved, "file:") {
			break // comes with the source; npm finds it there
		}
		r.problem("%s comes from %s, not from a registry: it can't be fetched inside the sandbox", who, detail)
	case node.OtherPackage:
		r.problem("%s is said to come from %s, which names another package", who, detail)
	}
	if p.Integrity == "" && !p.Bundled && kind != node.Foreign {
		r.problem("%s has no integrity: its content is not pinned", who)
	}
}

package dossier

import (
	"cmp"
	"maps"
	"slices"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
)

// Package is a third-party package of a scan.
type Package struct {
	PURL      string // "" if it is not known or not valid
	Name      string // Unnamed if nothing could be attributed
	Version   string // "" if unknown
	Path      string // where it is installed
	Integrity string // of the artifact, as the lockfile has it; "" if it was not fetched
	Scripts   []string
}

// Key tells packages apart.
func (p Package) Key() string {
	if p.PURL == "" && p.Version != "" {
		return p.Name + "@" + p.Version
	}
	return cmp.Or(p.PURL, p.Name)
}

// Named reports whether there is a package to name at all.
func (p Package) Named() bool { return p.Name != Unnamed }

// Registry returns the purl's type and the package's name in its ecosystem's
// public registry. ok is false for a package from elsewhere (a download, a
// repository), without a version or of a name that doesn't print: the name says nothing about the registry's
// package of that name.
func (p Package) Registry() (kind, name string, ok bool) {
	u, err := packageurl.FromString(p.PURL)
	if err != nil || u.Version == "" || len(u.Qualifiers) > 0 || u.Subpath != "" {
		return "", "", false
	}
	name = u.Name
	if u.Namespace != "" {
		name = u.Namespace + separator(u.Type) + u.Name
	}
	if name == "" || report.Printable(name, maxName) != name || report.Printable(u.Version, maxName) != u.Version {
		return "", "", false // no registry has it
	}
	return u.Type, name, true
}

func separator(kind string) string {
	if kind == packageurl.TypeMaven {
		return ":"
	}
	return "/"
}

// packageOf reads what a finding or a list says of a package.
func packageOf(p finding.Package) Package {
	out := Package{Name: report.Printable(p.Name, maxName), Version: report.Printable(p.Version, maxName), Path: report.Printable(p.Path, maxText)}
	if u, err := packageurl.FromString(p.PURL); err == nil && len(p.PURL) <= maxText {
		out.PURL = u.ToString() // in canonical form, which escapes what does not print
		if out.Name == "" {
			out.Name = report.Printable(u.Name, maxName)
			if u.Namespace != "" {
				out.Name = report.Printable(u.Namespace+separator(u.Type)+u.Name, maxName)
			}
		}
		out.Version = cmp.Or(out.Version, report.Printable(u.Version, maxName))
	}
	out.Name = cmp.Or(out.Name, report.Printable(p.PURL, maxName), Unnamed)
	return out
}

// packages lists what the scan saw of the dependency tree: packages with
// findings, with install scripts, and those that were fetched.
func packages(r finding.Result) []Package {
	all := map[string]Package{}
	add := func(p Package) {
		if !p.Named() {
			return
		}
		key := p.Name + "@" + p.Version
		if old, ok := all[key]; ok {
			p.PURL, p.Path, p.Integrity = cmp.Or(old.PURL, p.PURL), cmp.Or(old.Path, p.Path), cmp.Or(old.Integrity, p.Integrity)
			if len(p.Scripts) == 0 {
				p.Scripts = old.Scripts
			}
		} else if len(all) == maxPackages {
			return
		}
		all[key] = p
	}
	for _, f := range r.Findings {
		add(packageOf(f.Package))
	}
	for _, s := range r.InstallScripts {
		p := packageOf(s.Package)
		p.Scripts = printables(s.Scripts, maxTags)
		add(p)
	}
	for _, f := range r.Fetches {
		if f.Refused != "" || f.Version == "" {
			continue
		}
		p := packageOf(finding.Package{Name: f.Name, Version: f.Version})
		p.Integrity = report.Printable(f.Integrity, maxName)
		add(p)
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
}

// printables bounds a list of short texts.
func printables(list []string, limit int) (out []string) {
	for _, s := range list[:min(len(list), limit)] {
		out = append(out, report.Printable(s, maxName))
	}
	return out
}

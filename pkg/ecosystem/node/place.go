package node

import (
	"path"
	"regexp"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// PhaseInstall is the phase of everything that an install starts.
const PhaseInstall = "install"

// maxEvent bounds a lifecycle event's name, in bytes.
const maxEvent = 64

// lifecycle is what a manager tells the scripts that it starts.
type lifecycle struct{ event, manifest, name, version string }

func lifecycleOf(env []string) (l lifecycle) {
	for _, v := range env {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "npm_lifecycle_event":
			l.event = value
		case "npm_package_json":
			l.manifest = value
		case "npm_package_name":
			l.name = value
		case "npm_package_version":
			l.version = value
		}
	}
	return l
}

// Place recognises a manager whose lockfile does not say where packages are
// installed starting a lifecycle script: npm_lifecycle_event is set, and
// npm_package_json, where it is, names the manifest in the script's folder. The
// package is the one that the folder is of (node_modules/NAME); of several
// versions in the lockfile that which the folder (pnpm's and berry's have it in
// their names), or else the manager's npm_package_version, says. A folder that
// is none of a package in the lockfile is a Package with a name alone; one of
// the project or a member of its workspace has no package URL.
func Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	l := lifecycleOf(e.Env)
	if l.event == "" || len(l.event) > maxEvent || l.manifest != "" && path.Clean(l.manifest) != path.Join(e.Cwd, ManifestName) {
		return ecosystem.Place{}, false
	}
	return ecosystem.Place{Package: owner(p, s.Work, path.Clean(e.Cwd), l), Script: l.event, Phase: PhaseInstall}, true
}

const modules = "node_modules/"

// owner returns the package that the folder dir is of or lies in.
func owner(p ecosystem.Project, work, dir string, l lifecycle) finding.Package {
	rel, inside := strings.CutPrefix(dir+"/", path.Clean(work)+"/")
	rel = strings.TrimSuffix(rel, "/")
	name, at := folderOf(rel)
	switch {
	case inside && name != "":
		return choose(p, name, at, l)
	case inside:
		return member(p, rel)
	}
	for _, pkg := range p.Packages { // one from git, built in a folder of its own
		if pkg.Foreign && pkg.Name == l.name && l.name != "" {
			return pkg.Package
		}
	}
	return finding.Package{Path: "."}
}

// folderOf returns the name of the package whose folder rel is or lies in, and
// that folder.
func folderOf(rel string) (name, at string) {
	i := strings.LastIndex("/"+rel, "/"+modules)
	if i < 0 {
		return "", ""
	}
	parts := strings.SplitN(rel[i+len(modules):], "/", 3)
	name = parts[0]
	if strings.HasPrefix(name, "@") && len(parts) > 1 {
		name += "/" + parts[1]
	}
	if !ValidName(name) {
		return "", ""
	}
	return name, rel[:i+len(modules)] + name
}

// choose finds the package of a folder among the lockfile's.
func choose(p ecosystem.Project, name, at string, l lifecycle) finding.Package {
	var of []ecosystem.Package
	for _, pkg := range p.Packages {
		if pkg.Link {
			continue
		}
		if pkg.Path == at {
			return pkg.Package
		}
		if folder, _ := folderOf(pkg.Path); pkg.Name == name || folder == name {
			of = append(of, pkg)
		}
	}
	for _, pkg := range of {
		if len(of) == 1 || isVersion(pkg, at, name, l.version) {
			pkg.Path = at
			return pkg.Package
		}
	}
	unknown := finding.Package{Name: name, Path: at}
	if len(of) > 0 {
		unknown.Name = of[0].Name
	}
	unknown.PURL = PURL(unknown.Name, "")
	return unknown
}

// What the folders' names begin with in which managers keep packages apart:
//
//	node_modules/.pnpm/@acme+tool@1.0.0_react@18.0.0/node_modules/@acme/tool
//	.yarn/unplugged/@acme-tool-npm-1.0.0-0123456789/node_modules/@acme/tool
//	.yarn/cache/@acme-tool-npm-1.0.0-0123456789-0123456789.zip/node_modules/@acme/tool
var keptApart = regexp.MustCompile(`(?:^|/)(?:node_modules/\.pnpm|\.yarn/unplugged|\.yarn/cache)/([^/]+)/node_modules/`)

// isVersion reports whether pkg has the version of the folder at, which a
// package called name is in: what the folder's name says, or else version.
func isVersion(pkg ecosystem.Package, at, name, version string) bool {
	m := keptApart.FindStringSubmatch(at)
	if m == nil {
		return pkg.Version == version
	}
	for _, start := range []string{strings.ReplaceAll(name, "/", "+") + "@" + pkg.Version, strings.ReplaceAll(name, "/", "-") + "-npm-" + pkg.Version} {
		if rest, ok := strings.CutPrefix(m[1], start); ok && (rest == "" || strings.ContainsRune("_-(", rune(rest[0]))) {
			return true
		}
	}
	return false
}

// member returns the project's own package at rel.
func member(p ecosystem.Project, rel string) finding.Package {
	for _, pkg := range p.Packages {
		if pkg.Link && pkg.Path == rel {
			return pkg.Package
		}
	}
	if rel == "" {
		rel = "."
	}
	return finding.Package{Path: rel}
}

// Locate returns the package that is installed in the folder dir, relative to
// the project's root, or that dir lies in.
func Locate(p ecosystem.Project, dir, version string) (finding.Package, bool) {
	name, at := folderOf(dir)
	if name == "" {
		return finding.Package{}, false
	}
	return choose(p, name, at, lifecycle{version: version}), true
}

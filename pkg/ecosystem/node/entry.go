package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Entries gathers the packages of a lockfile. Its zero value is ready to use.
type Entries struct {
	Problems
	packages []ecosystem.Package
	seen     map[string]bool
}

// Add checks a package of the lockfile and takes it up, once: who is how the
// lockfile calls it. What can't be a package is an error, fault.Invalid or
// fault.TooLarge; what merely can't be trusted is a problem. checked says that
// the manager itself holds the content to the lockfile in its own way.
func (n *Entries) Add(who string, p ecosystem.Package, checked bool) error {
	switch {
	case len(n.packages) >= MaxPackages:
		return fault.Errorf(fault.TooLarge, "more than %d entries", MaxPackages)
	case !ValidName(p.Name):
		return fault.Errorf(fault.Invalid, "entry %.200q: %.100q is not a package name", who, p.Name)
	case !p.Link && !p.Foreign && !ValidVersion(p.Version):
		return fault.Errorf(fault.Invalid, "entry %.200q: version %.100q is not a semantic version", who, p.Version)
	}
	key := strings.Join([]string{p.Name, p.Version, p.Integrity, p.Resolved, p.Path}, "\x00")
	if n.seen[key] {
		return nil
	}
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[key] = true
	if !p.Link {
		n.suspect(&p, checked)
		p.PURL = PackageURL(p)
	}
	n.packages = append(n.packages, p)
	return nil
}

// suspect notes what makes a fetched package untrustworthy.
func (n *Entries) suspect(p *ecosystem.Package, checked bool) {
	who := p.Name + "@" + p.Version
	if !p.Foreign {
		kind, detail := Source(*p)
		p.Foreign = kind == Foreign
		if kind == OtherPackage {
			n.Problems.Add("%.200s is said to come from %s, which names another package", who, detail)
		}
	}
	switch {
	case p.Foreign && strings.HasPrefix(p.Resolved, "file:"):
	case p.Foreign:
		n.Problems.Add("%.200s comes from %s, not from a registry: it can't be fetched inside the sandbox", who, fmt.Sprintf("%.200q", redacted(p.Resolved)))
	case p.Integrity == "" && !p.Bundled && !checked:
		n.Problems.Add("%.200s has no integrity: its content is not pinned", who)
	}
}

// Packages returns what was taken up, sorted by path, name and version.
func (n *Entries) Packages() []ecosystem.Package {
	slices.SortFunc(n.packages, func(a, b ecosystem.Package) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return n.packages
}

package node

import (
	"regexp"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

var validScope = regexp.MustCompile(`^@[A-Za-z0-9~!*'()_-][A-Za-z0-9~!*'()._-]*$`)

// Scopes returns the scopes of the project's packages and the extra ones,
// sorted, without repetition. A .npmrc can send a scope elsewhere, so each has
// to be named.
func Scopes(p ecosystem.Project, extra []string) []string {
	all := slices.Clone(extra)
	for _, pkg := range p.Packages {
		scope, _ := SplitName(pkg.Name)
		all = append(all, scope)
		if i := strings.LastIndex(pkg.Path, modules); i >= 0 {
			scope, _ = SplitName(pkg.Path[i+len(modules):])
			all = append(all, scope)
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return !validScope.MatchString(s) })
	slices.Sort(all)
	return slices.Compact(all)
}

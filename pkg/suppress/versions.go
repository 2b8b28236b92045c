package suppress

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"deps.dev/util/semver"
	"github.com/package-url/packageurl-go"
)

// Canonical splits a package URL into the package and the version it is at, "" if
// it names none. Qualifiers and subpath stay with the package: what comes from a repository
// or a download is not the registry's package of that name.
func Canonical(purl string) (pkg, at string, err error) {
	u, err := packageurl.FromString(purl)
	if err != nil || u.Type == "" || u.Name == "" {
		return "", "", fmt.Errorf("package %.80q is not a package URL such as pkg:npm/left-pad", purl)
	}
	at, u.Version = u.Version, ""
	return u.ToString(), at, nil
}

// Kind is a package URL's type.
func Kind(pkg string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(pkg, "pkg:"), "/")
	return kind
}

// system says by whose words a package URL's type orders versions.
func system(kind string) (sys semver.System, known bool) {
	switch kind {
	case "npm":
		return semver.NPM, true
	case "pypi":
		return semver.PyPI, true
	case "gem":
		return semver.RubyGems, true
	case "cargo":
		return semver.Cargo, true
	case "maven":
		return semver.Maven, true
	case "nuget":
		return semver.NuGet, true
	case "golang", "composer": // neither has a parser of its own that takes ranges: ^, ~, >=, || mean what they mean elsewhere
		return semver.DefaultSystem, true
	}
	return semver.DefaultSystem, false
}

// versions is a set of versions.
type versions struct {
	exact string             // the only version, as written; "" for a range
	one   *semver.Version    // exact in its ecosystem's order; nil where nobody knows that
	set   *semver.Constraint // the range
	sys   semver.System
}

// rangeOf reads a version or a range. A version alone is that version, also where
// the package manager would take it for a range (Cargo, Maven, NuGet).
func rangeOf(pkg, text string) (v versions, err error) {
	sys, known := system(Kind(pkg))
	alone := version.MatchString(text)
	switch {
	case !known && alone:
		return versions{exact: text}, nil
	case !known:
		return v, fmt.Errorf("how versions of %.40q are ordered is not known: name one version", Kind(pkg))
	}
	defer trap(&err)
	v.sys = sys
	if one, err := sys.Parse(plain(sys, text)); alone && err == nil && !one.IsWildcard() {
		v.exact, v.one = text, one
		return v, nil
	}
	v.set, err = sys.ParseConstraint(plain(sys, text))
	return v, err
}

// version is what a version alone looks like.
var version = regexp.MustCompile(`^v?[0-9][0-9A-Za-z.+_!-]*$`)

// trap turns a panic of the parser, which is not ours, into an error.
func trap(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("it could not be read")
	}
}

// plain takes away what marks a Go version, in front of a number.
func plain(sys semver.System, text string) string {
	if sys != semver.DefaultSystem {
		return text
	}
	return goMark.ReplaceAllString(text, "$1$2")
}

var goMark = regexp.MustCompile(`(^|[^0-9A-Za-z.+-])v([0-9])`)

// has reports whether a version is in the set.
func (v versions) has(text string) (found bool) {
	if text == "" {
		return false
	}
	if v.set == nil && text == v.exact {
		return true
	}
	var err error
	defer func() { found = found && err == nil }()
	defer trap(&err)
	if v.set != nil {
		return v.set.Match(plain(v.sys, text))
	}
	if v.one == nil {
		return false
	}
	other, err := v.sys.Parse(plain(v.sys, text))
	return err == nil && !other.IsWildcard() && v.one.Compare(other) == 0
}

// pinned are ranges with room for one version only.
var pinned = regexp.MustCompile(`^\s*(={1,3}\s*[^\s,|<>=^~*]+|\[\s*[^\s,()\[\]]+\s*\])\s*$`)

// several reports whether the set has room for more than one version.
func (v versions) several() bool {
	return v.set != nil && (!pinned.MatchString(v.set.String()) || v.open())
}

// future is a version that nobody has released.
const future = "999999999.0.0"

// open reports whether the set has no upper end.
func (v versions) open() bool { return v.set != nil && v.has(future) }

// strong reports whether text is one subresource integrity string of a digest
// that nobody can find a second content for.
func strong(text string) bool {
	kind, digest, _ := strings.Cut(text, "-")
	size, known := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[kind]
	sum, err := base64.StdEncoding.DecodeString(digest)
	return known && err == nil && len(sum) == size
}

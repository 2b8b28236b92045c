package node

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

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
	return PackageURL(ecosystem.Package{Package: finding.Package{Name: name, Version: version}})
}

// PackageURL names the source of a package that is not a registry's, so that it is
// not taken for the registry's package of that name.
func PackageURL(p ecosystem.Package) string {
	var from packageurl.Qualifiers
	if u, err := url.Parse(p.Resolved); err == nil && p.Foreign {
		u.User = nil
		key := "download_url"
		if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
			key = "vcs_url"
		}
		from = packageurl.Qualifiers{{Key: key, Value: u.String()}}
	}
	scope, base := SplitName(p.Name)
	return packageurl.NewPackageURL(packageurl.TypeNPM, scope, base, p.Version, from, "").ToString()
}

// SplitName divides a name into its scope, "" for none, and the rest.
func SplitName(name string) (scope, base string) {
	if i := strings.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

package pip

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// What a requirement looks like: PEP 508, and PEP 503 for normal names.
var (
	validName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	separators  = regexp.MustCompile(`[-_.]+`)
	requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*(?:\[[A-Za-z0-9._, \t-]*\])?[ \t]*(.*)$`)
	pinned      = regexp.MustCompile(`^\(?[ \t]*={2,3}[ \t]*([A-Za-z0-9][A-Za-z0-9.!+_-]*)[ \t]*\)?$`)
)

// algorithms are those that pip takes for --hash, with their sizes in bytes.
var algorithms = map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}

// NormalName is a distribution's name as indexes compare it.
func NormalName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// ValidName reports whether name can be a distribution's.
func ValidName(name string) bool { return len(name) <= maxName && validName.MatchString(name) }

// PURL returns the package URL of an index's distribution.
func PURL(name, version string) string {
	return packageurl.NewPackageURL(packageurl.TypePyPi, "", NormalName(name), version, nil, "").ToString()
}

// Package makes a package of a valid name and its version, which may be "".
func Package(name, version string) ecosystem.Package {
	name = NormalName(name)
	return ecosystem.Package{Package: finding.Package{Name: name, Version: version, PURL: PURL(name, version)}}
}

// Integrity turns hashes as pip writes them ("sha256:<hex>") into one
// Subresource Integrity string. ok is false if one of them is none.
func Integrity(hashes []string) (sri string, ok bool) {
	var out []string
	for _, h := range hashes {
		algorithm, digits, _ := strings.Cut(h, ":")
		sum, err := hex.DecodeString(digits)
		if size := algorithms[algorithm]; err != nil || size == 0 || len(sum) != size {
			return "", false
		}
		out = append(out, algorithm+"-"+base64.StdEncoding.EncodeToString(sum))
	}
	return strings.Join(out, " "), true
}

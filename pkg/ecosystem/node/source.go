package node

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// SourceKind is where a lockfile says that a package comes from.
type SourceKind int

// The kinds of sources.
const (
	Registry     SourceKind = iota
	Foreign                 // git, an http tarball, a file
	OtherPackage            // a registry's archive of another name or version
)

// Source judges where an entry comes from by its resolved address. Registries
// serve archives as NAME/-/BASE-VERSION.tgz; some as NAME/VERSION/DIGEST.
func Source(p ecosystem.Package) (SourceKind, string) {
	if p.Resolved == "" {
		return Registry, ""
	}
	u, err := url.Parse(p.Resolved)
	if err != nil {
		return Foreign, "an unreadable address"
	}
	shown := fmt.Sprintf("%.200q", u.Redacted())
	if u.Scheme != "https" && u.Scheme != "http" {
		return Foreign, shown
	}
	_, base := SplitName(p.Name)
	switch where, file, ok := strings.Cut(u.Path, "/-/"); {
	case ok:
		if strings.HasSuffix(where, "/"+p.Name) && path.Base(file) == base+"-"+p.Version+".tgz" {
			return Registry, ""
		}
		return OtherPackage, shown
	case strings.Contains(u.Path, "/"+p.Name+"/"+p.Version+"/"):
		return Registry, ""
	}
	return Foreign, shown
}

// redacted takes the password out of an address.
func redacted(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return "an unreadable address"
}

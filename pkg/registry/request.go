package registry

import (
	"net/url"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Request is what a client may ask the proxy for: a packument (Version "") or
// an archive.
type Request struct {
	Name    string
	Version string
}

// maxPath bounds a request path, in bytes.
const maxPath = 1024

// ParsePath reads the escaped path of a request:
//
//	/name            /@scope%2fname         /@scope/name          a packument
//	/name/-/name-1.0.0.tgz   /@scope/name/-/name-1.0.0.tgz        an archive
//
// Each segment is unescaped once and has to be a package name, "-", or the
// archive's canonical file name; everything else is fault.Invalid.
func ParsePath(escaped string) (Request, error) {
	refuse := func(why string) (Request, error) {
		return Request{}, fault.Errorf(fault.Invalid, "%.200q is %s", escaped, why)
	}
	if len(escaped) > maxPath {
		return refuse("too long a path")
	}
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return refuse("not a path")
	}
	var segments []string
	for s := range strings.SplitSeq(rest, "/") {
		u, err := url.PathUnescape(s)
		if err != nil {
			return refuse("malformed")
		}
		segments = append(segments, u)
	}
	if scope := segments[0]; len(segments) > 1 && strings.HasPrefix(scope, "@") && !strings.Contains(scope, "/") {
		segments = append([]string{scope + "/" + segments[1]}, segments[2:]...)
	}
	r := Request{Name: segments[0]}
	if !node.ValidName(r.Name) || r.Name == "-" {
		return refuse("not a package")
	}
	switch {
	case len(segments) == 1:
		return r, nil
	case len(segments) != 3 || segments[1] != "-":
		return refuse("neither a package nor its archive")
	}
	version, ok1 := strings.CutPrefix(segments[2], baseName(r.Name)+"-")
	version, ok2 := strings.CutSuffix(version, ".tgz")
	if !ok1 || !ok2 || !node.ValidVersion(version) {
		return refuse("not an archive of that package")
	}
	r.Version = version
	return r, nil
}

// Path returns the path that ParsePath reads back.
func (r Request) Path() string {
	if r.Version == "" {
		return "/" + escapeName(r.Name)
	}
	return "/" + r.Name + "/-/" + baseName(r.Name) + "-" + r.Version + ".tgz"
}

// escapeName writes a name the way npm asks for a packument.
func escapeName(name string) string { return strings.Replace(name, "/", "%2f", 1) }

func baseName(name string) string { return name[strings.IndexByte(name, '/')+1:] }

func scopeOf(name string) string {
	if scope, _, ok := strings.Cut(name, "/"); ok {
		return scope
	}
	return ""
}

package source

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// checkName refuses a path that is not a plain path below the source. name is
// clean.
func checkName(name string, l Limits) error {
	parts := strings.Split(name, "/")
	switch {
	case len(name) > l.Path:
		return fault.Errorf(fault.TooLarge, "source: path %.80q is longer than %d bytes", name, l.Path)
	case len(parts) > l.Depth:
		return fault.Errorf(fault.TooLarge, "source: path %.80q is deeper than %d directories", name, l.Depth)
	case !utf8.ValidString(name):
		return fault.Errorf(fault.Invalid, "source: path %.80q is not UTF-8", name)
	case strings.ContainsRune(name, 0):
		return fault.Errorf(fault.Invalid, "source: path %.80q contains a NUL byte", name)
	}
	for _, part := range parts {
		if len(part) > l.Name {
			return fault.Errorf(fault.TooLarge, "source: name %.80q is longer than %d bytes", part, l.Name)
		}
	}
	return nil
}

// cleanEntry turns an archive entry's name into a clean path below the source;
// "" is the source itself.
func cleanEntry(name string) (string, error) {
	if path.IsAbs(name) {
		return "", fault.Errorf(fault.Invalid, "source: entry %.80q has an absolute path", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fault.Errorf(fault.Invalid, "source: entry %.80q climbs out of its directory", name)
		}
	}
	if name = path.Clean(name); name == "." {
		return "", nil
	}
	return name, nil
}

var (
	errLinkAbsolute = errors.New("link with an absolute target")
	errLinkOut      = errors.New("link out of the source")
	errLinkWinds    = errors.New("link whose target climbs after it has descended")
	errLinkBad      = errors.New("link with an unusable target")
)

// checkLink refuses a link that could lead out of the source. ".." may stand
// only at the start of the target: a link's own directory is a real one, so
// there the lexical answer is the true one, while behind another link
// ("a/link/..") it is not.
func checkLink(name, target string) error {
	switch {
	case target == "" || len(target) > 4096 || strings.ContainsRune(target, 0) || !utf8.ValidString(target):
		return errLinkBad
	case path.IsAbs(target):
		return errLinkAbsolute
	}
	depth, descended := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if descended {
				return errLinkWinds
			}
			if depth--; depth < 0 {
				return errLinkOut
			}
		default:
			descended = true
		}
	}
	return nil
}

// printable quotes a name and cuts it to 80 bytes, for an error message.
func printable(name string) string { return fmt.Sprintf("%.80q", name) }

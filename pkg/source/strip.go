package source

import (
	"archive/tar"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// stripTop moves everything up one level if it stands below one directory.
func (u *unpacker) stripTop() error {
	if !u.strip {
		return nil
	}
	top, ok := u.onlyTop()
	if !ok {
		return nil
	}
	// The directory goes out of the way first: it may hold one of its own name.
	const away = ".falconer-top"
	if err := u.root.Rename(top, away); err != nil {
		return u.failed(top, err)
	}
	for name, typ := range u.seen {
		child, below := strings.CutPrefix(name, top+"/")
		if !below || strings.Contains(child, "/") || typ == tar.TypeSymlink {
			continue
		}
		if child == away {
			return fault.Errorf(fault.Invalid, "source: entry %.80q has a reserved name", name)
		}
		if err := u.root.Rename(away+"/"+child, child); err != nil {
			return u.failed(name, err)
		}
	}
	for i, l := range u.links {
		u.links[i].name = strings.TrimPrefix(l.name, top+"/")
	}
	u.out.Stripped = top
	return u.failed(top, u.root.Remove(away))
}

// onlyTop returns the directory that everything stands below.
func (u *unpacker) onlyTop() (top string, ok bool) {
	for name, typ := range u.seen {
		if strings.Contains(name, "/") {
			continue
		}
		if top != "" || typ != tar.TypeDir {
			return "", false
		}
		top = name
	}
	return top, top != ""
}

// makeLinks creates the links, each of which must end inside.
func (u *unpacker) makeLinks() error {
	for _, l := range u.links {
		if err := checkLink(l.name, l.target); err != nil {
			return fault.Errorf(fault.Invalid, "source: entry %.80q: %w (%.80q)", l.name, err, l.target)
		}
		if err := u.root.Symlink(l.target, l.name); err != nil {
			return u.failed(l.name, err)
		}
	}
	return nil
}

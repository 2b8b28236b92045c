package planner

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// SourceFetcher gets the source of a push.
type SourceFetcher interface {
	// Fetch opens the gzip-compressed tar archive of the commit that was
	// pushed; the caller closes it. A commit that does not exist is
	// fault.Permanent.
	Fetch(ctx context.Context, p event.Push) (io.ReadCloser, error)
}

// LocalArchives fetches from a directory on this machine: for networks without
// a way to the forge, and for tests. It looks for
//
//	<dir>/<project path>/<commit>.tar.gz
//	<dir>/<project path>.tgz
//
// in this order. The second stands for any commit of the project.
type LocalArchives string

var _ SourceFetcher = LocalArchives("")

// Fetch implements SourceFetcher. Links that lead out of the directory are not
// followed.
func (dir LocalArchives) Fetch(_ context.Context, p event.Push) (io.ReadCloser, error) {
	if _, err := hex.DecodeString(p.After); err != nil || p.After == "" || !fs.ValidPath(p.Project) {
		return nil, fault.Errorf(fault.Invalid, "planner: %.80q at %.80q is not a commit of a project", p.After, p.Project)
	}
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return nil, fault.New("planner: open archive directory", fault.Transient, err)
	}
	defer root.Close()
	names := [...]string{p.Project + "/" + p.After + ".tar.gz", p.Project + ".tgz"}
	for _, name := range names {
		f, err := root.Open(name)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New("planner: open archive", fault.Transient, err)
		}
	}
	return nil, fault.Errorf(fault.Permanent, "no source archive of %.200q at %s; looked for %.300q and %.300q", p.Project, p.After, names[0], names[1])
}

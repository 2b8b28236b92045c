// Package folder is the way to packages that lie in a folder of this machine:
// a wheelhouse for pip, a vendor folder for cargo, a module cache for Go. It
// makes no request to anybody, and lets a sandbox make none.
//
// Guarantees: only regular files and folders of the folder get into a sandbox,
// links are not followed; the folder itself is only read; what is taken over
// is bounded by MaxFiles and MaxDepth. Whether content is what the lockfile
// pins is checked by the package manager, which has the hashes.
package folder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry"
)

// Limits on what is taken over.
const (
	MaxFiles = 200_000
	MaxDepth = 40
)

// Gateway implements registry.Gateway.
type Gateway struct {
	Kind string // of registry, ecosystem.Recipe.Registry
	Dir  string // "" if none was named: then Prefetch says what to do
}

var (
	_ registry.Gateway = Gateway{}
	_ registry.Gate    = gate{}
)

// Prefetch fills dir with hard links to the folder's files, or with copies
// where it can't. A folder that was not named, is not there or exceeds a limit
// is fault.Permanent.
func (g Gateway) Prefetch(ctx context.Context, p ecosystem.Project, dir, _ string) (registry.Prefetched, error) {
	if g.Dir == "" {
		return registry.Prefetched{}, fault.Errorf(fault.Permanent,
			"packages of %s (%s) are not fetched, they have to be at hand: name a folder that has them with --packages %s=DIR", p.Manager, g.Kind, g.Kind)
	}
	var out registry.Prefetched
	files := 0
	err := filepath.WalkDir(g.Dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(g.Dir, at)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		switch {
		case d.IsDir():
			if strings.Count(rel, string(filepath.Separator)) >= MaxDepth {
				return fault.Errorf(fault.Permanent, "%s is nested deeper than %d folders", at, MaxDepth)
			}
			return os.MkdirAll(to, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		if files++; files > MaxFiles {
			return fault.Errorf(fault.Permanent, "%s holds more than %d files", g.Dir, MaxFiles)
		}
		n, err := take(at, to)
		out.Bytes += n
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		err = fault.New("packages of "+p.Manager, fault.Permanent, err)
	case err != nil && ctx.Err() == nil && fault.KindOf(err) == fault.Transient:
		err = fault.New("packages of "+p.Manager, fault.Transient, err)
	}
	return out, err
}

// take links or copies a file and returns its size.
func take(from, to string) (int64, error) {
	info, err := os.Lstat(from)
	if err != nil {
		return 0, err
	}
	if os.Link(from, to) == nil {
		return info.Size(), nil
	}
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm()|0o400)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}

// Gate implements registry.Gateway: nothing is answered, all lies in the
// sandbox already.
func (g Gateway) Gate(ecosystem.Project, string) registry.Gate { return gate{} }

type gate struct{}

// ServeHTTP implements http.Handler.
func (gate) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "packages come from a folder", http.StatusNotFound)
}

// Fetches implements registry.Gate.
func (gate) Fetches() ([]finding.Fetch, int) { return nil, 0 }

// Problems implements registry.Gate.
func (gate) Problems() []string { return nil }

package runner

import (
	"context"
	"path/filepath"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/sandbox"
)

// prepared unpacks the packages beforehand if driver and manager can take them
// over: unpacking is no behaviour of theirs, and inside it is half of a scan's
// time. What it leaves out the manager unpacks itself.
func (r *Runner) prepared(ctx context.Context, mirror *registry.Mirror, p ecosystem.Project, m ecosystem.Manager, dir string) ([]ecosystem.Prepared, error) {
	preparer, can := m.(ecosystem.Preparer)
	if !can || !sandbox.TakesPrepared(r.d.Driver) {
		return nil, nil
	}
	packages, err := mirror.Unpack(ctx, p, filepath.Join(dir, "source"))
	if err != nil || len(packages) == 0 {
		return nil, err
	}
	return packages, preparer.Prepare(filepath.Join(dir, "cache"), packages)
}

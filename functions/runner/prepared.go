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
// time. What it leaves out the manager unpacks itself. Beside it the manager's
// own code is made ready.
func (r *Runner) prepared(ctx context.Context, from registry.Gateway, p ecosystem.Project, m ecosystem.Manager, dir string) ([]ecosystem.Prepared, error) {
	preparer, can := m.(ecosystem.Preparer)
	mirror, has := from.(*registry.Mirror)
	if !can || !has || !sandbox.TakesPrepared(r.d.Driver) {
		return nil, nil
	}
	modules := r.modules(ctx)
	packages, err := mirror.Unpack(ctx, p, filepath.Join(dir, "source"))
	own := <-modules
	if err != nil || len(packages) == 0 {
		return nil, err
	}
	return packages, preparer.Prepare(filepath.Join(dir, "cache"), packages, own)
}

// modules fetches the manager's own code. Without it a scan takes longer, and
// nothing else.
func (r *Runner) modules(ctx context.Context) <-chan []byte {
	out := make(chan []byte, 1)
	go func() {
		var own []byte
		if r.d.Modules != nil {
			var err error
			if own, err = r.d.Modules(ctx); err != nil && ctx.Err() == nil {
				r.d.Log.Info("the package manager loads its own files", "error", err)
			}
		}
		out <- own
	}()
	return out
}

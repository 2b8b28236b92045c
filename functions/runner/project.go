package runner

import (
	"context"
	"os"
	"path"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Unpack unpacks a request's source into dir and reads its project there; what
// the recipe withholds is removed. Errors are fault.Permanent for a manager
// that is not supported, a source that is gone and a lockfile that is not the
// one asked for, and those of source.Unpack and ecosystem.Manager.Load.
func Unpack(ctx context.Context, sources source.Store, managers map[string]ecosystem.Manager, req scan.Request, dir string) (ecosystem.Project, ecosystem.Manager, error) {
	manager := managers[req.Manager]
	if manager == nil {
		return ecosystem.Project{}, nil, fault.Errorf(fault.Permanent, "runner: package manager %q is not supported", req.Manager)
	}
	archive, err := sources.Get(ctx, req.Source.Object)
	if err != nil {
		return ecosystem.Project{}, nil, err
	}
	defer archive.Close()
	if _, err := source.Unpack(ctx, archive, dir, source.Limits{}); err != nil {
		return ecosystem.Project{}, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ecosystem.Project{}, nil, fault.New("runner: open source", fault.Transient, err)
	}
	defer root.Close()
	project, err := manager.Load(root.FS(), req.Root)
	if err != nil {
		return ecosystem.Project{}, nil, err
	}
	if project.Digest != req.Digest {
		return ecosystem.Project{}, nil, fault.Errorf(fault.Permanent, "runner: %s has digest %s, the request says %s", project.Lockfile, project.Digest, req.Digest)
	}
	for _, name := range manager.Recipe(project, ecosystem.Setting{}).Withhold {
		if err := root.RemoveAll(path.Join(project.Root, name)); err != nil {
			return ecosystem.Project{}, nil, fault.New("runner: withhold "+name, fault.Transient, err)
		}
	}
	return project, manager, nil
}

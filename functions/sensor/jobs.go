package sensor

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/scratch"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Job is what must be known of a scan to say which package does what.
type Job struct {
	Project ecosystem.Project
	Manager ecosystem.Manager
	Run     runs.Run
}

// extensions carry the trace context of the scan's cause on.
func (j Job) extensions() [][2]string {
	var out [][2]string
	for _, x := range [][2]string{{event.ExtTraceparent, j.Run.Traceparent}, {"tracestate", j.Run.Tracestate}} {
		if x[1] != "" {
			out = append(out, x)
		}
	}
	return out
}

// Jobs finds what is known of a scan. Load tries until ctx ends, unless it
// can't succeed.
type Jobs interface {
	Load(ctx context.Context, id scan.ID) (Job, error)
}

// dirPrefix starts the names of directories that sources are unpacked in.
const dirPrefix = "falconer-sensor-"

// loadPause is the pause between two tries to load a job.
const loadPause = 500 * time.Millisecond

// Stored loads jobs from the run records and the source store.
type Stored struct {
	Runs interface {
		Get(ctx context.Context, id scan.ID) (runs.Run, error)
	}
	Sources  source.Store
	Managers map[string]ecosystem.Manager
	TempDir  string // "" means os.TempDir
}

var _ Jobs = (*Stored)(nil)

// Load implements Jobs.
func (s *Stored) Load(ctx context.Context, id scan.ID) (Job, error) {
	for {
		j, err := s.load(ctx, id)
		if err == nil || (!fault.Retryable(err) && !errors.Is(err, runs.ErrNotFound)) {
			return j, err
		}
		select {
		case <-ctx.Done():
			return Job{}, err
		case <-time.After(loadPause):
		}
	}
}

func (s *Stored) load(ctx context.Context, id scan.ID) (Job, error) {
	run, err := s.Runs.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	manager := s.Managers[run.Request.Manager]
	if manager == nil {
		return Job{}, fault.Errorf(fault.Permanent, "sensor: package manager %q is not supported", run.Request.Manager)
	}
	project, err := s.project(ctx, manager, run.Request)
	return Job{Project: project, Manager: manager, Run: run}, err
}

// project reads the lockfile from the scan's source.
func (s *Stored) project(ctx context.Context, m ecosystem.Manager, req scan.Request) (p ecosystem.Project, err error) {
	dir, err := scratch.Make(s.TempDir, dirPrefix)
	if err != nil {
		return p, fault.New("sensor: make a directory for a source", fault.Transient, err)
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	archive, err := s.Sources.Get(ctx, req.Source.Object)
	if err != nil {
		return p, err
	}
	defer archive.Close()
	if _, err := source.Unpack(ctx, archive, dir.Path, source.Limits{}); err != nil {
		return p, err
	}
	root, err := os.OpenRoot(dir.Path)
	if err != nil {
		return p, fault.New("sensor: open a source", fault.Transient, err)
	}
	defer root.Close()
	return m.Load(root.FS(), req.Root)
}

// unknownJob is a scan of which nothing could be read.
func unknownJob() Job {
	return Job{Project: ecosystem.Project{Root: "."}, Manager: byFolder{npm.Manager{}}}
}

package planner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// MaxRoots bounds the project roots of one source that are scanned.
const MaxRoots = 100

// maxReason bounds a rejection's reason, in bytes.
const maxReason = 1000

// Planner plans the scans of one source at a time. It is safe for concurrent
// use.
type Planner struct {
	Store    source.Store
	Managers []ecosystem.Manager
	Rules    string // version of the rule set; part of every scan ID
	TempDir  string // where sources are unpacked; "" means the system's
	// Suppressions are the operator's.
	Suppressions suppress.File
	Limits       source.Limits // of what is unpacked
}

// Meta says what a source is.
type Meta struct {
	Project  string // path on the forge, or "local/<name>"
	Ref      string
	Commit   string // "" where there is none: the source's digest takes its place in the scan ID
	WebURL   string
	StripTop bool // the archive's single top-level directory is not part of the source
	Timeout  time.Duration
	Offline  bool
	// InstallOnly asks for scans that load no package after the install.
	InstallOnly bool
	By          string // function that plans, for rejections
	Cause       string // ID of the event, or digest of the upload, that asked
	Priority    scan.Priority
	Pushed      time.Time // when the forge told of the commit; zero if nobody knows
	// Choose says which of the projects are to be scanned; nil means all. An
	// error ends the planning.
	Choose func(ctx context.Context, projects []ecosystem.Project) ([]bool, error)
	// Standard says what findings are weighed by; nil means by the operator's word.
	Standard func(ctx context.Context) (Standard, error)
}

// Plan unpacks an archive that nobody vouches for, and plans the scans of what
// it holds. Errors are fault.Invalid and fault.TooLarge for a bad archive
// (naming the entry) and fault.Transient otherwise. A root that can't be
// scanned, or nothing to scan at all, is no error but in Plan.Rejected.
func (p Planner) Plan(ctx context.Context, archive io.Reader, m Meta) (Plan, error) {
	dir, err := os.MkdirTemp(p.TempDir, "falconer-plan-*")
	if err != nil {
		return Plan{}, fault.New("planner: make directory", fault.Transient, err)
	}
	defer os.RemoveAll(dir)
	var opts []source.Option
	if m.StripTop {
		opts = append(opts, source.StripTop())
	}
	if _, err := source.Unpack(ctx, archive, filepath.Join(dir, "source"), p.Limits, opts...); err != nil {
		return Plan{}, err
	}
	return p.PlanDir(ctx, filepath.Join(dir, "source"), m)
}

// PlanDir is Plan for a directory. The directory is only read. Errors are
// those of source.Pack and source.Store.Put.
func (p Planner) PlanDir(ctx context.Context, dir string, m Meta) (Plan, error) {
	if m.Timeout < 0 || m.Timeout > scan.MaxTimeout {
		return Plan{}, fault.Errorf(fault.Invalid, "planner: timeout %s is outside 0 to %s", m.Timeout, scan.MaxTimeout)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Plan{}, fault.New("planner: open source", fault.Permanent, err)
	}
	defer root.Close()
	projects, rejected, err := p.find(root.FS(), m)
	if err != nil || len(projects) == 0 {
		return Plan{Rejected: rejected}, err
	}
	projects, untouched, err := m.choose(ctx, projects)
	if err != nil || len(projects) == 0 {
		return Plan{Rejected: rejected, Untouched: untouched}, err
	}
	standard, from, err := p.sources(ctx, root, m)
	if err != nil {
		return Plan{}, err
	}
	stored, err := p.store(ctx, dir)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Rejected: rejected, Untouched: untouched}
	for _, f := range projects {
		r := request(f, stored, m, p.Rules)
		if r.Policy, err = policy(ctx, standard, from, f.project); err != nil {
			return Plan{}, err
		}
		if err := r.Validate(); err != nil {
			plan.Rejected = append(plan.Rejected, m.rejected(f.project.Root, f.project.Manager, err))
			continue
		}
		plan.Requests = append(plan.Requests, r)
	}
	return plan, nil
}

// found is a project and the manager that can install it.
type found struct {
	project ecosystem.Project
	recipe  string
}

// find reads the projects of all managers. What is malformed is rejected; an
// error means that the files could not be read.
func (p Planner) find(fsys fs.FS, m Meta) (list []found, rejected []event.Rejected, err error) {
	var names []string
	for _, manager := range p.Managers {
		names = append(names, manager.Name())
		roots, err := manager.Detect(fsys)
		if fault.Retryable(err) {
			return nil, nil, err
		}
		if err != nil {
			rejected = append(rejected, m.rejected("", manager.Name(), err))
			continue
		}
		for i, root := range roots {
			if i == MaxRoots {
				rejected = append(rejected, m.rejected("", manager.Name(), fmt.Errorf("%d project roots of %s, of which only the first %d are scanned", len(roots), manager.Name(), MaxRoots)))
				break
			}
			if reason, ok := source.Withheld(root); ok {
				rejected = append(rejected, m.rejected(root, manager.Name(), fmt.Errorf("the folder is withheld from scans: %s", reason)))
				continue
			}
			project, err := manager.Load(fsys, root)
			if fault.Retryable(err) {
				return nil, nil, err
			}
			if err != nil {
				rejected = append(rejected, m.rejected(root, manager.Name(), err))
				continue
			}
			list = append(list, found{project, manager.Recipe(project, ecosystem.Setting{}).Version})
		}
	}
	if len(list)+len(rejected) == 0 {
		none := m.rejected("", "", fmt.Errorf("nothing to scan: no lockfile found; looked for projects of %s", strings.Join(names, ", ")))
		none.Nothing = true
		rejected = []event.Rejected{none}
	}
	return list, rejected, nil
}

// choose leaves out what Meta.Choose does, and counts it.
func (m Meta) choose(ctx context.Context, list []found) (chosen []found, left int, err error) {
	if m.Choose == nil {
		return list, 0, nil
	}
	projects := make([]ecosystem.Project, len(list))
	for i, f := range list {
		projects[i] = f.project
	}
	keep, err := m.Choose(ctx, projects)
	if err != nil {
		return nil, 0, err
	}
	for i, f := range list {
		if keep[i] {
			chosen = append(chosen, f)
		}
	}
	return chosen, len(list) - len(chosen), nil
}

// store packs a directory straight into the object store.
func (p Planner) store(ctx context.Context, dir string) (scan.Source, error) {
	r, w := io.Pipe()
	var packed source.Packed
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		packed, err = source.Pack(ctx, dir, w, p.Limits)
		_ = w.CloseWithError(err) // always nil
	}()
	stored, err := p.Store.Put(ctx, r)
	_ = r.CloseWithError(errors.Join(errStopped, err)) // ends Pack if Put gave up early
	<-done
	stored.Excluded = packed.Excluded
	return stored, err
}

var errStopped = errors.New("the archive is no longer needed")

// request makes a scan request of a project.
func request(f found, src scan.Source, m Meta, rules string) scan.Request {
	r := scan.Request{
		Project: m.Project, Ref: m.Ref, Commit: m.Commit, WebURL: m.WebURL,
		Root: f.project.Root, Manager: f.project.Manager, Lockfile: f.project.Lockfile, Digest: f.project.Digest,
		Recipe: f.recipe, Rules: rules, Source: src,
		TimeoutSeconds: int((m.Timeout + time.Second - 1) / time.Second), Offline: m.Offline, InstallOnly: m.InstallOnly,
		Priority: m.Priority, Pushed: m.Pushed,
	}
	if m.InstallOnly {
		r.Recipe += "-install-only"
	}
	r.ID = r.Key().ID()
	return r
}

// rejected makes a rejection that names the root.
func (m Meta) rejected(root, manager string, err error) event.Rejected {
	reason := err.Error()
	if root != "" && root != "." && !strings.Contains(reason, root) {
		reason = path.Clean(root) + ": " + reason
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return event.Rejected{Project: m.Project, Ref: m.Ref, Commit: m.Commit, Root: root, Manager: manager, By: m.By, Cause: m.Cause, Reason: reason}
}

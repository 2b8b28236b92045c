package planner

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/heads"
)

// ProjectsVariable names the environment variable with the paths of projects
// that are watched from the start, separated by white space or commas. Those
// that a push was heard of are watched anyway.
const ProjectsVariable = "FALCONER_GITLAB_PROJECTS"

// ReconcileEvery is how often missed pushes are looked for, by the ticker of one
// process or by the cluster's sweep.
const ReconcileEvery = 5 * time.Minute

// Bounds on one pass.
const (
	passTimeout   = 4 * time.Minute // below the delivery timeout of the sweep's Trigger
	passProjects  = 500
	passRequests  = 50
	maxBranches   = 2000             // of a project
	maxAsks       = 6                // for one commit of one branch
	firstPatience = 15 * time.Minute // before a commit is asked for again, doubled each time
)

// Branches says where a project's branches are; *gitlab.Client is one.
type Branches interface {
	Project(ctx context.Context, path string) (gitlab.Project, error)
	Branches(ctx context.Context, project string, limit int) (list []gitlab.Branch, complete bool, err error)
}

// Heads remembers how far branches were looked at; *heads.Store is one.
type Heads interface {
	Get(ctx context.Context, project, ref string) (heads.Head, bool, error)
	Of(ctx context.Context, project string) (map[string]heads.Head, error)
	Note(ctx context.Context, h heads.Head) error
	Ask(ctx context.Context, project, ref, sha string, at time.Time) error
	Forget(ctx context.Context, project, ref string) error
	Projects(ctx context.Context) ([]heads.Project, error)
	Watch(ctx context.Context, p heads.Project) error
}

var (
	_ Branches = (*gitlab.Client)(nil)
	_ Heads    = (*heads.Store)(nil)
)

// Reconciler finds pushes that no webhook told of: it compares where the
// branches of watched projects are with how far they were looked at, and emits
// repo.push for what is missing. A pass is bounded, goes on elsewhere next time
// where it had to end early, and can be repeated, or run twice at once, without
// harm. Tags are not looked at.
type Reconciler struct {
	Forge    Branches
	Heads    Heads
	Projects []string // watched from the start
	Emitter  function.Emitter
	Now      func() time.Time
	Log      *slog.Logger

	running sync.Mutex
}

// Projects reads ProjectsVariable.
func Projects(getenv func(string) string) []string {
	return strings.FieldsFunc(getenv(ProjectsVariable), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' })
}

// Run makes a pass at once and then every so often, until ctx ends.
func (r *Reconciler) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := r.Pass(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("missed pushes could not all be looked for; the next pass goes on", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Pass looks for missed pushes once. While a pass runs another is none. Its error
// says what could not be looked at this time.
func (r *Reconciler) Pass(ctx context.Context) error {
	if !r.running.TryLock() {
		return nil
	}
	defer r.running.Unlock()
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	watched, err := r.watched(ctx)
	if err != nil {
		return err
	}
	left := passRequests
	var failed []error
	for _, p := range watched[:min(len(watched), passProjects)] {
		err := r.project(ctx, p, &left)
		switch {
		case err == nil:
		case errors.Is(err, gitlab.ErrNotFound):
			r.Log.Warn("a watched project is not there", "project", p.Path, "error", err)
		case fault.Retryable(err): // GitLab, or the store, wants to be left alone
			return errors.Join(append(failed, err)...)
		default:
			failed = append(failed, err)
		}
		if left <= 0 {
			r.Log.Warn("many pushes were missed: the next pass goes on", "requested", passRequests)
			break
		}
	}
	return errors.Join(failed...)
}

// watched lists the projects, each time from another one on.
func (r *Reconciler) watched(ctx context.Context) ([]heads.Project, error) {
	known, err := r.Heads.Projects(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]heads.Project{}
	for _, path := range r.Projects {
		all[path] = heads.Project{Path: path}
	}
	for _, p := range known {
		all[p.Path] = p
	}
	paths := slices.Sorted(maps.Keys(all))
	list := make([]heads.Project, 0, len(paths))
	for i := range paths {
		from := int(r.Now().Unix()/int64(ReconcileEvery/time.Second)) % len(paths)
		list = append(list, all[paths[(i+from)%len(paths)]])
	}
	return list, nil
}

// project compares one project's branches.
func (r *Reconciler) project(ctx context.Context, p heads.Project, left *int) error {
	info, err := r.Forge.Project(ctx, p.Path)
	if err != nil {
		return err
	}
	branches, complete, err := r.Forge.Branches(ctx, p.Path, maxBranches)
	if err != nil {
		return err
	}
	if !complete {
		r.Log.Warn("only some of a project's branches are looked at", "project", p.Path, "branches", maxBranches)
	}
	known, err := r.Heads.Of(ctx, p.Path)
	if err != nil {
		return err
	}
	for _, b := range branches {
		ref := "refs/heads/" + b.Name
		h, seen := known[ref]
		delete(known, ref)
		switch {
		case h.SHA == b.SHA:
		case !seen && !p.Based && b.Name != info.DefaultBranch:
			// As it was when watching began: the next push counts.
			err = r.Heads.Note(ctx, heads.Head{Project: p.Path, Ref: ref, SHA: b.SHA})
		case *left > 0:
			err = r.request(ctx, info, p.Path, ref, b.SHA, h, left)
		}
		if err != nil {
			return err
		}
	}
	if !complete {
		return nil
	}
	for ref := range known { // the branch is gone
		if err := r.Heads.Forget(ctx, p.Path, ref); err != nil {
			return err
		}
	}
	if p.Based {
		return nil
	}
	p.Based = true
	return r.Heads.Watch(ctx, p)
}

// request emits the push that was missed. The same commit of the same branch is
// asked for again, for it may have failed for a reason that passes, but each
// time later, and not for ever.
func (r *Reconciler) request(ctx context.Context, info gitlab.Project, path, ref, sha string, h heads.Head, left *int) error {
	now, asks := r.Now(), 0
	if h.Asked == sha {
		asks = h.Asks
		if asks >= maxAsks || now.Sub(h.AskedAt) < firstPatience<<(asks-1) {
			return nil
		}
	}
	*left--
	push := event.Push{Provider: "gitlab", ProjectID: info.ID, Project: path, WebURL: info.WebURL, Ref: ref, Before: h.SHA, After: sha,
		DefaultBranch: info.DefaultBranch, Received: now.UTC()}
	e, err := event.New(event.RepoPush, event.Source(Name), path, event.ID(event.RepoPush, "reconcile", path, ref, h.SHA, sha, strconv.Itoa(asks)), now, push)
	if err != nil {
		return err
	}
	if err := r.Emitter.Emit(ctx, e); err != nil {
		return fault.New("planner: emit "+e.Type(), fault.KindOf(err), err)
	}
	r.Log.Warn("a push that nobody told of is scanned", "project", path, "ref", ref, "before", h.SHA, "after", sha, "times", asks+1)
	return r.Heads.Ask(ctx, path, ref, sha, now)
}

// since says from where on a push counts: from the commit up to which the branch
// was looked at, where that is not what the forge says it was before. A push
// between the two was missed.
func (f *Function) since(ctx context.Context, p event.Push) (string, error) {
	if f.Heads == nil || !strings.HasPrefix(p.Ref, "refs/heads/") {
		return p.Before, nil
	}
	h, ok, err := f.Heads.Get(ctx, p.Project, p.Ref)
	if err != nil || !ok || h.SHA == "" || h.SHA == p.After || !h.At.Before(p.Received) {
		return p.Before, err
	}
	return h.SHA, nil
}

// seen notes that a push was looked at.
func (f *Function) seen(ctx context.Context, p event.Push) error {
	if f.Heads == nil || !strings.HasPrefix(p.Ref, "refs/heads/") {
		return nil
	}
	return f.Heads.Note(ctx, heads.Head{Project: p.Project, Ref: p.Ref, SHA: p.After, At: p.Received})
}

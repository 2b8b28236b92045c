package planner

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// Standard is what a source's findings are weighed by, beside the operator's
// suppressions.
type Standard struct {
	// Target is the branch that it is compared with, "" for none.
	Target string
	// Suppressions is the file of the default branch, before the change.
	Suppressions suppress.File
	// NoTarget says why there is no such branch; "" if there is one.
	NoTarget string
	Problems []string // of that file
	// Baseline lists the target's scans, newest first; nil for none.
	Baseline func(ctx context.Context, root, manager string) ([]scan.ID, error)
}

// Unvouched is what is said where nobody knows any other file than the source's.
const Unvouched = "name its file with --suppressions if you trust it"

// Lines remembers which scans branches were at; *heads.Store is one. Errors are
// transient.
type Lines interface {
	Scans(ctx context.Context, l heads.Line) ([]heads.Scan, error)
	Scanned(ctx context.Context, l heads.Line, s heads.Scan) error
}

// Files reads what a project's branches hold; *gitlab.Client is one. What does not
// exist is gitlab.ErrNotFound, a file that is too large fault.TooLarge.
type Files interface {
	Project(ctx context.Context, path string) (gitlab.Project, error)
	Branch(ctx context.Context, project, name string) (gitlab.Branch, error)
	File(ctx context.Context, project, sha, path string, limit int) ([]byte, error)
}

var (
	_ Lines = (*heads.Store)(nil)
	_ Files = (*gitlab.Client)(nil)
)

// standard says what a change is weighed by.
func (f *Function) standard(ctx context.Context, j job) (s Standard, err error) {
	s.Target = j.target
	if f.Lines != nil && j.target != "" {
		s.Baseline = func(ctx context.Context, root, manager string) ([]scan.ID, error) {
			return f.candidates(ctx, j, heads.Line{Project: j.meta.Project, Ref: "refs/heads/" + j.target, Root: root, Manager: manager})
		}
	}
	s.Suppressions, s.NoTarget, err = f.vouched(ctx, j)
	if err != nil && fault.Retryable(later(err)) {
		return s, later(err)
	}
	if err != nil {
		s.Suppressions, s.Problems = suppress.File{}, []string{"the default branch's suppressions do not count: " + err.Error()}
	}
	return s, nil
}

// candidates lists the scans to compare with. A push is compared with what its own
// branch was at before it.
func (f *Function) candidates(ctx context.Context, j job, l heads.Line) (ids []scan.ID, err error) {
	list, err := f.Lines.Scans(ctx, l)
	for _, s := range list {
		before := j.fetch.Ref != l.Ref || j.fetch.Received.IsZero() || !s.At.After(j.fetch.Received)
		if before && s.Commit != j.fetch.After && len(ids) < scan.MaxBaselines {
			ids = append(ids, s.ID)
		}
	}
	return ids, err
}

// vouched returns the suppressions that counted before the change: those of the
// default branch, which is the one that people guard. Whoever may name a merge
// request's target may name a branch of his own. A push to the default branch
// counts by what that was before.
func (f *Function) vouched(ctx context.Context, j job) (file suppress.File, none string, err error) {
	if f.Files == nil {
		return file, "there is no GitLab to ask what the default branch has", nil
	}
	branch := j.fetch.DefaultBranch
	if branch == "" {
		p, err := f.Files.Project(ctx, j.meta.Project)
		if errors.Is(err, gitlab.ErrNotFound) || err == nil && p.DefaultBranch == "" {
			return file, "the project has no default branch", nil
		}
		if err != nil {
			return file, "", err
		}
		branch = p.DefaultBranch
	}
	at := j.change.from
	if j.fetch.Ref != "refs/heads/"+branch {
		b, err := f.Files.Branch(ctx, j.meta.Project, branch)
		if errors.Is(err, gitlab.ErrNotFound) {
			return file, "the project has no default branch", nil
		}
		if err != nil {
			return file, "", err
		}
		at = b.SHA
	}
	if strings.Trim(at, "0") == "" {
		return file, "nothing is known of the default branch before this push", nil
	}
	text, err := f.Files.File(ctx, j.meta.Project, at, suppress.FileName, suppress.MaxFile)
	if errors.Is(err, gitlab.ErrNotFound) { // the file, or a commit that a force push removed
		return suppress.File{Name: suppress.FileName}, "", nil
	}
	if err != nil {
		return file, "", err
	}
	file, err = suppress.Decode(suppress.FileName, text)
	return file, "", err
}

// noted remembers that a branch was at what these scans are of.
func (f *Function) noted(ctx context.Context, j job, scans []scan.Request) error {
	if f.Lines == nil || !strings.HasPrefix(j.fetch.Ref, "refs/heads/") {
		return nil
	}
	for _, r := range scans {
		err := f.Lines.Scanned(ctx, heads.Line{Project: r.Project, Ref: j.fetch.Ref, Root: r.Root, Manager: r.Manager},
			heads.Scan{ID: r.ID, Commit: j.fetch.After, At: j.fetch.Received})
		if err != nil {
			return err
		}
	}
	return nil
}

// sources gathers the files that may speak of a source.
func (p Planner) sources(ctx context.Context, root *os.Root, m Meta) (Standard, suppress.Sources, error) {
	s := Standard{NoTarget: Unvouched}
	if m.Standard != nil {
		var err error
		if s, err = m.Standard(ctx); err != nil {
			return s, suppress.Sources{}, err
		}
	}
	from := suppress.Sources{Central: p.Suppressions, Target: s.Suppressions, NoTarget: s.NoTarget, Problems: s.Problems}
	own, err := suppress.Read(root)
	switch {
	case fault.Retryable(err):
		return s, from, err
	case err != nil:
		from.Problems = append(from.Problems, err.Error())
	default:
		from.Own = own
	}
	return s, from, nil
}

// policy is what the findings of one project root are weighed by.
func policy(ctx context.Context, s Standard, from suppress.Sources, p ecosystem.Project) (scan.Policy, error) {
	kinds := map[string]bool{}
	for _, x := range p.Packages {
		kinds[suppress.Kind(x.PURL)] = true
	}
	out := from.Policy(p.Root, kinds)
	out.Target = s.Target
	if s.Baseline == nil {
		return out, nil
	}
	var err error
	out.Baseline, err = s.Baseline(ctx, p.Root, p.Manager)
	return out, err
}

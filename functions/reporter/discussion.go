package reporter

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	compare "github.com/falconer-sec/falconer/pkg/baseline"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/markdown"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// claim is how long one reporter may take to open a discussion. It is longer
// than a call can last, so that a call whose answer was lost has ended, and its
// discussion is found, before anybody opens another.
const claim = 25 * time.Second

// Bounds on one report.
const (
	maxRequests = 10  // merge requests of a commit
	maxSections = 100 // project roots of a merge request
	maxShows    = 10  // times that a text is written because it changed meanwhile
)

// Discussions keeps one discussion a merge request: opened with the first result
// that is not clean, edited with each later one, resolved once all are clean.
// What it shows follows from memory and from the results, so that reporters that
// work at once, or again, end at the same text.
type Discussions struct {
	client  *gitlab.Client
	memory  memory
	results Results
	link    string
	now     func() time.Time
	claim   time.Duration
}

// Results has what scans came to. Get returns results.ErrNotFound (wrapped) for
// a scan without a result; other errors are transient.
type Results interface {
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
}

var (
	_ Sink    = (*Discussions)(nil)
	_ Results = (*results.Store)(nil)
)

// NewDiscussions returns a sink that keeps discussions at GitLab, and remembers
// them in the JetStream bucket "merge-requests". link is as in NewStatuses.
func NewDiscussions(ctx context.Context, c *gitlab.Client, nc *nats.Conn, known Results, link string, now func() time.Time, opts ...stream.Option) (*Discussions, error) {
	m, err := openMemory(ctx, nc, opts...)
	if err != nil {
		return nil, err
	}
	return &Discussions{client: c, memory: m, results: known, link: strings.TrimSuffix(link, "/"), now: now, claim: claim}, nil
}

// Name implements Sink.
func (*Discussions) Name() string { return "gitlab discussion" }

// Deliver implements Sink. Where GitLab refuses the token the error is
// transient, as it is for Statuses.
func (d *Discussions) Deliver(ctx context.Context, r Report) error {
	project, s := sectionOf(r)
	if s.Commit == "" || strings.HasPrefix(project, "local/") || r.Rejected != nil && r.Rejected.Nothing {
		return nil
	}
	if err := d.remember(ctx, r.Result); err != nil {
		return err
	}
	list, err := d.client.MergeRequests(ctx, project, s.Commit)
	if err != nil {
		return later(err)
	}
	var failed []error
	for _, m := range list[:min(len(list), maxRequests)] {
		failed = append(failed, d.report(ctx, m, s))
	}
	return worst(failed)
}

// worst returns an error that is transient if one of them is.
func worst(list []error) error {
	if i := slices.IndexFunc(list, func(err error) bool { return fault.Retryable(later(err)) }); i >= 0 {
		return later(list[i])
	}
	return errors.Join(list...)
}

// sectionOf is a report as a part of a discussion.
func sectionOf(r Report) (project string, s section) {
	if r.Rejected != nil {
		q := r.Rejected
		return q.Project, section{Root: q.Root, Manager: q.Manager, Commit: q.Commit, ScanID: q.ScanID, Verdict: finding.Inconclusive, Rejected: cut(q.Reason, 1000)}
	}
	q := r.Result
	return q.Project, section{Root: q.Root, Manager: q.Manager, Commit: q.Commit, ScanID: q.ScanID, Revision: q.Revision, Verdict: q.Verdict}
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// remember makes a good result what later ones of its branch are compared with.
func (d *Discussions) remember(ctx context.Context, r *finding.Result) error {
	if r == nil || r.Ref == "" || !r.Good() {
		return nil
	}
	_, _, err := change(ctx, d.memory, key("base", r.Project, r.Ref, r.Root, r.Manager), func(b *baseline) bool {
		if !r.Finished.After(b.Finished) {
			return false
		}
		*b = baseline{r.ScanID, r.Finished}
		return true
	})
	return err
}

// report brings one merge request's discussion up to date.
func (d *Discussions) report(ctx context.Context, m gitlab.MergeRequest, s section) error {
	if s.Rejected == "" {
		r, err := d.weighed(ctx, m, s)
		if err == nil {
			s.Verdict = r.Verdict
		} else if !errors.Is(err, results.ErrNotFound) {
			return err
		}
	}
	age, err := d.age(ctx, m, s.Commit)
	if err != nil {
		return err
	}
	k := key("mr", m.Project, strconv.FormatInt(m.IID, 10))
	stale := false
	t, version, err := change(ctx, d.memory, k, func(t *thread) bool {
		changed := false
		changed, stale = t.take(s, age)
		return changed
	})
	if err != nil || stale {
		return err
	}
	for range maxShows {
		done, err := d.show(ctx, m, k, t)
		if err != nil {
			return err
		}
		before := version
		if t, version, err = load[thread](ctx, d.memory, k); err != nil || done && version == before {
			return err
		}
	}
	return fault.Errorf(fault.Transient, "reporter: the discussion of %s!%d changes all the time", m.Project, m.IID)
}

// age returns how far each commit of a merge request is from its head.
func (d *Discussions) age(ctx context.Context, m gitlab.MergeRequest, commit string) (func(string) int, error) {
	list := []string{m.Head}
	if m.Head != commit {
		var err error
		if list, err = d.client.Commits(ctx, m); err != nil {
			return nil, err
		}
	}
	return func(sha string) int {
		if i := slices.Index(list, sha); i >= 0 {
			return i
		}
		return len(list)
	}, nil
}

// take puts a section into the thread. It is stale, and left out, where the
// thread has a newer commit or revision of it.
func (t *thread) take(s section, age func(string) int) (changed, stale bool) {
	i := slices.IndexFunc(t.Sections, func(o section) bool { return o.Root == s.Root && o.Manager == s.Manager })
	if i < 0 {
		if len(t.Sections) >= maxSections {
			return false, true
		}
		t.Sections = append(t.Sections, s)
	} else {
		old := t.Sections[i]
		switch {
		case old == s:
			return false, false
		case age(old.Commit) < age(s.Commit), old.Commit == s.Commit && old.Revision > s.Revision:
			return false, true
		}
		t.Sections[i] = s
	}
	t.State = "" // also where somebody resolved it by hand: this is new
	return true, false
}

// clean reports whether there is nothing to discuss.
func (t thread) clean() bool {
	return !slices.ContainsFunc(t.Sections, func(s section) bool { return s.Verdict != finding.Clean })
}

// show brings GitLab to what a thread says. done is false where somebody has to
// look again.
func (d *Discussions) show(ctx context.Context, m gitlab.MergeRequest, k string, t thread) (done bool, err error) {
	if t.Discussion == "" && t.clean() {
		return true, nil
	}
	body, err := d.text(ctx, m, t)
	if err != nil {
		return false, err
	}
	if t.Discussion == "" {
		return false, d.open(ctx, m, k, body)
	}
	at := gitlab.Thread{ID: t.Discussion, Note: t.Note}
	err = d.client.Edit(ctx, m, at, body)
	if errors.Is(err, gitlab.ErrNotFound) { // somebody deleted it
		_, _, err = change(ctx, d.memory, k, func(now *thread) bool {
			gone := now.Discussion == t.Discussion
			if gone {
				now.Discussion, now.Note, now.State = "", 0, ""
			}
			return gone
		})
		return false, err
	}
	want := "open"
	if t.clean() {
		want = "resolved"
	}
	if err != nil || t.State == want {
		return err == nil, err
	}
	if err := d.client.Resolve(ctx, m, at, want == "resolved"); err != nil {
		return false, err
	}
	_, _, err = change(ctx, d.memory, k, func(now *thread) bool {
		same := now.Discussion == t.Discussion && slices.Equal(now.Sections, t.Sections)
		if same {
			now.State = want
		}
		return same
	})
	return false, err
}

// open finds or opens the discussion, while no other reporter does.
func (d *Discussions) open(ctx context.Context, m gitlab.MergeRequest, k, body string) error {
	mine := false
	t, _, err := change(ctx, d.memory, k, func(t *thread) bool {
		mine = t.Discussion == "" && !d.now().Before(t.Claimed)
		if mine {
			t.Claimed = d.now().Add(d.claim)
		}
		return mine
	})
	switch {
	case err != nil || t.Discussion != "":
		return err
	case !mine:
		return fault.Errorf(fault.Transient, "reporter: somebody else is opening the discussion of %s!%d", m.Project, m.IID)
	}
	found, err := d.find(ctx, m)
	if err == nil && found.ID == "" {
		found, err = d.client.Start(ctx, m, body)
	} else if err != nil {
		return errors.Join(err, d.release(ctx, k)) // nothing was sent
	}
	if err != nil {
		return err // it may exist all the same: the claim keeps others off until it can be found
	}
	_, _, err = change(ctx, d.memory, k, func(t *thread) bool {
		t.Discussion, t.Note, t.Claimed = found.ID, found.Note, time.Time{}
		return true
	})
	return err
}

// release gives a claim back.
func (d *Discussions) release(ctx context.Context, k string) error {
	_, _, err := change(ctx, d.memory, k, func(t *thread) bool {
		t.Claimed = time.Time{}
		return true
	})
	return err
}

// find looks for a discussion of ours that memory does not have: the oldest. Any
// others are removed.
func (d *Discussions) find(ctx context.Context, m gitlab.MergeRequest) (first gitlab.Thread, err error) {
	self, err := d.client.Self(ctx)
	if err != nil {
		return first, err
	}
	var more []gitlab.Thread
	err = d.client.Threads(ctx, m, func(t gitlab.Thread) bool {
		if t.Author == self && strings.HasPrefix(t.Body, markdown.Marker) {
			if first.ID == "" {
				first = t
			} else {
				more = append(more, t)
			}
		}
		return true
	})
	for _, t := range more {
		err = errors.Join(err, d.client.Remove(ctx, m, t))
	}
	return first, err
}

// text is what a discussion shows.
func (d *Discussions) text(ctx context.Context, m gitlab.MergeRequest, t thread) (string, error) {
	list := make([]markdown.Section, 0, len(t.Sections))
	for _, s := range t.Sections {
		out := markdown.Section{Result: finding.Result{Root: s.Root, Manager: s.Manager, Commit: s.Commit, ScanID: s.ScanID, Verdict: s.Verdict}, Rejected: s.Rejected, Target: m.Target}
		if s.Rejected == "" {
			r, err := d.weighed(ctx, m, s)
			switch {
			case err == nil:
				out.Result = r
			case errors.Is(err, results.ErrNotFound):
				out.Result.Incomplete = []string{"the result is not kept any more"}
			default:
				return "", err
			}
		}
		list = append(list, out)
	}
	return markdown.Discussion(list, d.link), nil
}

// weighed returns a section's result as it weighs for a merge request: compared
// with its target branch, whatever branch the scan was planned to be compared with.
func (d *Discussions) weighed(ctx context.Context, m gitlab.MergeRequest, s section) (finding.Result, error) {
	r, err := d.results.Get(ctx, s.ScanID)
	if err != nil || r.Baseline.Ref == m.Target && r.Baseline.ScanID != "" {
		return r, err
	}
	b, version, err := load[baseline](ctx, d.memory, key("base", m.Project, m.Target, s.Root, s.Manager))
	if err != nil {
		return r, err
	}
	var base *finding.Result
	if version > 0 && b.ScanID != s.ScanID {
		target, err := d.results.Get(ctx, b.ScanID)
		switch {
		case errors.Is(err, results.ErrNotFound):
		case err != nil:
			return r, err
		default:
			target.Ref, base = m.Target, &target
		}
	}
	if base == nil && r.Baseline.ScanID == "" {
		return r, nil
	}
	r.Findings = slices.Clone(r.Findings)
	compare.Compare(&r, base)
	r.Verdict, r.Reasons = finding.Judge(r.Findings, r.Incomplete)
	return r, nil
}

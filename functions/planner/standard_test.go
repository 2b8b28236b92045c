package planner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// weighing is a planner with a GitLab and a memory of what branches were at.
type weighing struct {
	t   *testing.T
	lab *gitlabtest.Server
	p   *gitlabtest.Project
	f   *Function
	out eventtest.Recorder
	at  time.Time
}

func newWeighing(t *testing.T) *weighing {
	t.Helper()
	srv, err := natsd.Start(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	nc, err := srv.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := &weighing{t: t, at: now}
	w.f, w.lab, w.p = withForge(t, &w.out)
	w.f.Files = w.f.Fetcher.(Forge).Client
	if w.f.Lines, err = heads.Open(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	return w
}

// tree is a project with a suppression for each version named.
func tree(n int, versions ...string) gitlabtest.Tree {
	files := gitlabtest.Tree{"package.json": `{"name":"x","version":"1.0.0"}`,
		"package-lock.json": fmt.Sprintf(`{"name":"x","version":"1.0.%d","lockfileVersion":3,"packages":{"":{"name":"x","version":"1.0.0"}}}`, n)}
	if len(versions) > 0 {
		text := "version: 1\nsuppressions:\n"
		for _, v := range versions {
			text += "  - {package: pkg:npm/a, version: " + v + ", rule: R, owner: o, reason: r, expires: 2027-01-01}\n"
		}
		files[suppress.FileName] = text
	}
	return files
}

// planned hands an event over and returns the policy of the one scan requested.
func (w *weighing) planned(typ string, data any) scan.Request {
	w.t.Helper()
	had := len(w.out.Events())
	w.at = w.at.Add(time.Minute)
	e, err := event.New(typ, event.Source("gitlabhook"), "mike/diaspora", fmt.Sprint(w.at), w.at, data)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.f.Handle(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	var got []ce.Event
	for _, e := range w.out.Events()[had:] {
		if err := event.Check(e); err != nil {
			w.t.Error(err)
		}
		got = append(got, e)
	}
	if len(got) != 1 || got[0].Type() != event.ScanRequested {
		w.t.Fatalf("%d events: %v", len(got), got)
	}
	q, err := event.Decode[scan.Request](got[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func (w *weighing) push(ref, before, after string) scan.Request {
	w.t.Helper()
	return w.planned(event.RepoPush, event.Push{Provider: "gitlab", ProjectID: 15, Project: "mike/diaspora", Ref: ref, Before: before, After: after,
		DefaultBranch: "main", Received: w.at.Add(time.Minute)})
}

// counted lists the versions of the suppressions that count and of those that do
// not.
func counted(p scan.Policy) string {
	var counts, void []string
	for _, s := range p.Suppressions {
		if s.Void == "" {
			counts = append(counts, s.Version)
		} else {
			void = append(void, s.Version)
		}
	}
	return strings.Join(counts, " ") + " | " + strings.Join(void, " ")
}

// A suppression counts once it is in the default branch, and from the next change
// on; what a merge request brings along does not, whatever target it names.
func TestSuppressionsOfTheDefaultBranchCount(t *testing.T) {
	w := newWeighing(t)
	first := w.p.Commit("refs/heads/main", tree(1, "1.0.0"))
	if q := w.push("refs/heads/main", gitlabtest.Zero, first); counted(q.Policy) != " | 1.0.0" || !strings.Contains(q.Policy.Suppressions[0].Void, "before this push") {
		t.Errorf("the first push: %+v", q.Policy)
	}
	second := w.p.Commit("refs/heads/main", tree(2, "1.0.0", "2.0.0"))
	if q := w.push("refs/heads/main", first, second); counted(q.Policy) != "1.0.0 | 2.0.0" || !strings.Contains(q.Policy.Suppressions[1].Void, "added or changed by the change under scan") {
		t.Errorf("a push that adds one: %+v", q.Policy)
	}
	feature := w.p.Commit("refs/heads/feature", tree(3, "2.0.0", "3.0.0"))
	if q := w.push("refs/heads/feature", gitlabtest.Zero, feature); counted(q.Policy) != "1.0.0 2.0.0 | 3.0.0" || q.Policy.Target != "main" {
		t.Errorf("a push to a branch: %+v", q.Policy)
	}
	w.p.Commit("refs/heads/mine", tree(4, "4.0.0")) // a branch of the attacker's own
	mine := w.p.Commit("refs/heads/mine2", tree(5, "4.0.0"))
	q := w.planned(event.RepoMergeRequest, event.MergeRequest{Provider: "gitlab", ProjectID: 15, Project: "mike/diaspora", IID: 1, Source: "mine2", Target: "mine", Head: mine, Action: "open", Received: w.at})
	if counted(q.Policy) != "1.0.0 2.0.0 | 4.0.0" || q.Policy.Target != "mine" {
		t.Errorf("a merge request into a branch of one's own: %+v", q.Policy)
	}
	w.f.Planner.Suppressions = suppress.File{Entries: []scan.Suppression{{Source: "central.yaml", Package: "pkg:npm/a", Version: "9.0.0", Rule: "R", Owner: "o", Reason: "r", Expires: "2027-01-01"}}}
	w.f.Files = nil
	alone := w.p.Commit("refs/heads/feature", tree(6, "3.0.0"))
	if q := w.push("refs/heads/feature", feature, alone); counted(q.Policy) != "9.0.0 | 3.0.0" || !strings.Contains(q.Policy.Suppressions[1].Void, "no GitLab to ask") {
		t.Errorf("without GitLab: %+v", q.Policy)
	}
}

// A file that can't be used is said, and suppresses nothing; a GitLab that does not
// answer makes the planner try again.
func TestBadSuppressionFiles(t *testing.T) {
	w := newWeighing(t)
	broken := tree(1)
	broken[suppress.FileName] = "version: 1\nsuppressions: all\n"
	first := w.p.Commit("refs/heads/main", broken)
	feature := w.p.Commit("refs/heads/feature", tree(2, "1.0.0"))
	q := w.push("refs/heads/feature", gitlabtest.Zero, feature)
	if counted(q.Policy) != " | 1.0.0" || len(q.Policy.Problems) != 1 || !strings.Contains(q.Policy.Problems[0], ".falconer.yaml:2: suppressions is not a list") {
		t.Errorf("the default branch's file is broken: %+v", q.Policy)
	}
	next := tree(3)
	next[suppress.FileName] = "version: 1\nsuppressions: [{}]\n"
	second := w.p.Commit("refs/heads/main", next)
	if q := w.push("refs/heads/main", first, second); len(q.Policy.Problems) != 2 {
		t.Errorf("both are broken: %+v", q.Policy)
	}
	w.lab.Break(gitlabtest.Fault{Method: "GET", Path: "/repository/files/", Status: 502, Times: 10})
	third := w.p.Commit("refs/heads/feature", tree(4, "1.0.0"))
	if _, err := w.f.Handle(t.Context(), pushOf(t, second, third)); !fault.Retryable(err) {
		t.Errorf("GitLab is away: %v", err)
	}
}

// What a branch was at before is what its next push, and what is to be merged into
// it, is compared with; newest first, and never with itself.
func TestBaselineCandidates(t *testing.T) {
	w := newWeighing(t)
	var before []scan.ID
	last := gitlabtest.Zero
	for n := range 3 {
		sha := w.p.Commit("refs/heads/main", tree(n))
		q := w.push("refs/heads/main", last, sha)
		if q.Policy.Target != "main" || fmt.Sprint(q.Policy.Baseline) != fmt.Sprint(before) {
			t.Errorf("push %d is compared with %v, want %v", n, q.Policy.Baseline, before)
		}
		before, last = append([]scan.ID{q.ID}, before...), sha
	}
	feature := w.p.Commit("refs/heads/feature", tree(9))
	if q := w.push("refs/heads/feature", gitlabtest.Zero, feature); fmt.Sprint(q.Policy.Baseline) != fmt.Sprint(before) {
		t.Errorf("a branch is compared with %v, want %v", q.Policy.Baseline, before)
	}
	tag := w.p.Commit("refs/tags/v1", tree(10))
	if q := w.push("refs/tags/v1", gitlabtest.Zero, tag); q.Policy.Target != "" || len(q.Policy.Baseline) != 0 {
		t.Errorf("a tag: %+v", q.Policy)
	}
}

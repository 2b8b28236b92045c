package planner

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// watcher is a planner and a reconciler on one GitLab, whose pushes the test
// hands from the one to the other.
type watcher struct {
	t    *testing.T
	lab  *gitlabtest.Server
	p    *gitlabtest.Project
	f    *Function
	r    *Reconciler
	out  eventtest.Recorder // what the planner says
	told eventtest.Recorder // what the reconciler says
	now  time.Time
	done int
}

func watch(t *testing.T, projects ...string) *watcher {
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
	known, err := heads.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, now: now}
	w.f, w.lab, w.p = withForge(t, &w.out)
	w.f.Heads = known
	w.r = &Reconciler{Forge: w.f.Fetcher.(Forge).Client, Heads: known, Projects: projects, Emitter: &w.told, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler)}
	return w
}

// pass makes a pass and returns what it asked for, as "ref before after".
func (w *watcher) pass() []string {
	w.t.Helper()
	if err := w.r.Pass(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	var asked []string
	for _, e := range w.told.Events()[w.done:] {
		p, err := event.Decode[event.Push](e)
		if err != nil || e.Type() != event.RepoPush || p.Project != "mike/diaspora" || p.ProjectID != 15 || p.DefaultBranch != "main" {
			w.t.Errorf("%s %+v %v", e.Type(), p, err)
		}
		if err := event.Check(e); err != nil {
			w.t.Error(err)
		}
		asked = append(asked, p.Ref+" "+p.Before+" "+p.After)
	}
	slices.Sort(asked)
	return asked
}

// plan hands the planner what the last pass asked for.
func (w *watcher) plan() {
	w.t.Helper()
	for _, e := range w.told.Events()[w.done:] {
		if _, err := w.f.Handle(w.t.Context(), e); err != nil {
			w.t.Fatal(err)
		}
	}
	w.done = len(w.told.Events())
}

func (w *watcher) want(name string, got []string, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// What a project that is newly watched has is where watching begins; of what
// comes then nothing is missed, and nothing asked for twice.
func TestReconcile(t *testing.T) {
	w := watch(t, "mike/diaspora")
	main := w.p.Commit("refs/heads/main", repo(nil))
	w.p.Commit("refs/heads/old", repo(gitlabtest.Tree{"x": "1"}))
	w.want("the first pass", w.pass(), "refs/heads/main  "+main)
	w.plan()
	w.want("a pass with nothing new", w.pass())
	next := w.p.Commit("refs/heads/main", repo(gitlabtest.Tree{"web/package.json": `{"name":"b"}`}))
	fresh := w.p.Commit("refs/heads/fresh", repo(gitlabtest.Tree{"y": "1"}))
	w.want("missed pushes", w.pass(), "refs/heads/main "+main+" "+next, "refs/heads/fresh  "+fresh)
	w.plan()
	w.want("they were looked at", w.pass())
	var roots []string
	for _, e := range w.out.Events() {
		q, err := event.Decode[scan.Request](e)
		if err != nil {
			t.Fatal(err)
		}
		if q.Commit == next {
			roots = append(roots, q.Root)
		}
		if q.Ref == "main" && q.Priority != scan.PriorityDefaultBranch || q.Ref != "main" && q.Priority != scan.PriorityNormal {
			t.Errorf("%s has priority %d", q.Ref, q.Priority)
		}
	}
	if d := cmp.Diff([]string{"web"}, roots); d != "" {
		t.Errorf("roots of the missed push (-want +got):\n%s", d)
	}
}

// A project is watched once a push of it was heard.
func TestReconcileAfterAPush(t *testing.T) {
	w := watch(t)
	main := w.p.Commit("refs/heads/main", repo(nil))
	w.want("nobody is watched", w.pass())
	if _, err := w.f.Handle(t.Context(), pushOf(t, gitlabtest.Zero, main)); err != nil {
		t.Fatal(err)
	}
	w.want("nothing was missed", w.pass())
	next := w.p.Commit("refs/heads/main", repo(gitlabtest.Tree{"package.json": `{"name":"b"}`}))
	w.want("a push was", w.pass(), "refs/heads/main "+main+" "+next)
}

// A push between two that were heard was missed: what it touched is scanned with
// the second.
func TestPushAfterAMissedOne(t *testing.T) {
	w := watch(t)
	first := w.p.Commit("refs/heads/main", repo(nil))
	missed := w.p.Commit("refs/heads/main", repo(gitlabtest.Tree{"package.json": `{"name":"bad"}`}))
	last := w.p.Commit("refs/heads/main", repo(gitlabtest.Tree{"package.json": `{"name":"bad"}`, "README.md": "bye"}))
	handle := func(before, after string, at time.Time) (n int) {
		t.Helper()
		had := len(w.out.Events())
		e := pushOf(t, before, after)
		p, err := event.Decode[event.Push](e)
		if err != nil {
			t.Fatal(err)
		}
		p.Received = at
		if err := e.SetData("application/json", p); err != nil {
			t.Fatal(err)
		}
		if _, err := w.f.Handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		return len(w.out.Events()) - had
	}
	if n := handle(gitlabtest.Zero, first, now); n != 2 {
		t.Errorf("the first push: %d scans", n)
	}
	if n := handle(missed, last, now.Add(time.Minute)); n != 1 {
		t.Errorf("the last push: %d scans, want that of the root that the missed one touched", n)
	}
	if n := handle(first, missed, now.Add(time.Second)); n != 1 { // late, and on its own account
		t.Errorf("the late push: %d scans", n)
	}
	if h, _, err := w.f.Heads.Get(t.Context(), "mike/diaspora", "refs/heads/main"); err != nil || h.SHA != last {
		t.Errorf("%+v, %v", h, err)
	}
}

// What fails is asked for again, each time later, and not for ever.
func TestReconcileGivesUp(t *testing.T) {
	w := watch(t, "mike/diaspora")
	w.p.Commit("refs/heads/main", repo(nil))
	ids := map[string]bool{}
	for range 24 * 60 / 5 * 2 {
		w.pass()
		w.now = w.now.Add(ReconcileEvery)
	}
	for _, e := range w.told.Events() {
		ids[e.ID()] = true
	}
	if n := len(w.told.Events()); n != maxAsks || len(ids) != maxAsks {
		t.Errorf("asked %d times with %d IDs, want %d", n, len(ids), maxAsks)
	}
}

// A pass is bounded: the next goes on.
func TestReconcileIsBounded(t *testing.T) {
	w := watch(t, "mike/diaspora")
	w.p.Commit("refs/heads/main", repo(nil))
	w.pass()
	w.plan()
	for i := range passRequests + 5 {
		w.p.Commit("refs/heads/b"+string(rune('a'+i/26))+string(rune('a'+i%26)), repo(gitlabtest.Tree{"n": string(rune('a' + i))}))
	}
	if n := len(w.pass()); n != passRequests {
		t.Errorf("%d requests, want %d", n, passRequests)
	}
	w.done = len(w.told.Events())
	if n := len(w.pass()); n != 5 {
		t.Errorf("%d requests in the next pass, want 5", n)
	}
}

// GitLab is left alone once it asks for it; a project that is gone keeps no other
// from being looked at.
func TestReconcileFaults(t *testing.T) {
	w := watch(t, "gone/project", "mike/diaspora")
	main := w.p.Commit("refs/heads/main", repo(nil))
	w.lab.Break(gitlabtest.Fault{Path: "/projects/mike", Status: 429, RetryAfter: 60, Times: 1})
	if err := w.r.Pass(t.Context()); err == nil {
		t.Error("a pass that GitLab broke off has no error")
	}
	w.want("the next pass", w.pass(), "refs/heads/main  "+main)
}

func TestProjects(t *testing.T) {
	got := Projects(func(string) string { return " a/b, c/d\n e/f " })
	if d := cmp.Diff([]string{"a/b", "c/d", "e/f"}, got); d != "" {
		t.Error(d)
	}
}

package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const lock = `{"name":"a","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"a","version":"1.0.0"}}}`

// repo is a tree with npm projects at "." and "web".
func repo(change gitlabtest.Tree) gitlabtest.Tree {
	t := gitlabtest.Tree{"README.md": "hello"}
	for _, root := range []string{"", "web/"} {
		t[root+"package.json"] = `{"name":"a","version":"1.0.0"}`
		t[root+"package-lock.json"] = lock
	}
	for k, v := range change {
		t[k] = v
	}
	return t
}

// withForge is a planner of npm projects on a GitLab.
func withForge(t *testing.T, emit *eventtest.Recorder) (*Function, *gitlabtest.Server, *gitlabtest.Project) {
	t.Helper()
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	c, err := gitlab.New(gitlab.Config{URL: lab.Start(t), Token: "glpat-test-token", Wait: time.Millisecond, Tries: 2, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	f, _ := newFunction(t, emit, Forge{c})
	f.Planner.Managers = []ecosystem.Manager{npm.Manager{}}
	f.Changes = c
	return f, lab, p
}

func pushOf(t *testing.T, before, after string) ce.Event {
	t.Helper()
	e, err := event.New(event.RepoPush, event.Source("gitlabhook"), "mike/diaspora", before+after, now,
		event.Push{Provider: "gitlab", ProjectID: 15, Project: "mike/diaspora", Ref: "refs/heads/main", Before: before, After: after, Received: now})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// asked lists the roots that scans were requested for.
func asked(t *testing.T, r *eventtest.Recorder) (roots []string) {
	t.Helper()
	for _, e := range r.Events() {
		if e.Type() != event.ScanRequested {
			t.Errorf("emitted %s: %s", e.Type(), e.Data())
			continue
		}
		q, err := event.Decode[scan.Request](e)
		if err != nil {
			t.Fatal(err)
		}
		if !q.Pushed.Equal(now) {
			t.Errorf("pushed %v, want %v", q.Pushed, now)
		}
		roots = append(roots, q.Root)
	}
	slices.Sort(roots)
	return roots
}

func TestOnlyTouchedRootsAreScanned(t *testing.T) {
	many := gitlabtest.Tree{}
	for i := range 150 {
		many[fmt.Sprintf("docs/%03d", i)] = "x"
	}
	both := []string{".", "web"}
	for name, tt := range map[string]struct {
		change gitlabtest.Tree
		want   []string
	}{
		"readme":            {gitlabtest.Tree{"README.md": "2"}, nil},
		"lockfile":          {gitlabtest.Tree{"web/package-lock.json": lock + "\n"}, []string{"web"}},
		"manifest":          {gitlabtest.Tree{"package.json": `{"name":"a","version":"1.0.1"}`}, []string{"."}},
		"settings":          {gitlabtest.Tree{"web/.npmrc": "x=1"}, []string{"web"}},
		"workspace":         {gitlabtest.Tree{"packages/x/package.json": `{}`}, []string{"."}},
		"code":              {gitlabtest.Tree{"web/src/index.js": "1"}, nil},
		"more than it says": {many, both},
	} {
		t.Run(name, func(t *testing.T) {
			var r eventtest.Recorder
			f, _, p := withForge(t, &r)
			before := p.Commit("refs/heads/main", repo(nil))
			after := p.Commit("refs/heads/main", repo(tt.change))
			if _, err := f.Handle(t.Context(), pushOf(t, before, after)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, asked(t, &r), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("roots (-want +got):\n%s", d)
			}
		})
	}
}

// Where GitLab can't say what a push touched, all of it is scanned.
func TestUnknownBeforeScansAll(t *testing.T) {
	for name, before := range map[string]string{"first push": gitlabtest.Zero, "gone": strings.Repeat("1", 40), "none": ""} {
		t.Run(name, func(t *testing.T) {
			var r eventtest.Recorder
			f, _, p := withForge(t, &r)
			after := p.Commit("refs/heads/main", repo(nil))
			if _, err := f.Handle(t.Context(), pushOf(t, before, after)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{".", "web"}, asked(t, &r)); d != "" {
				t.Errorf("roots (-want +got):\n%s", d)
			}
		})
	}
}

// GitLab leaves files out of a comparison beyond its limits without a word: a
// lockfile that is not named is looked at itself.
func TestComparisonThatHidesTheLockfile(t *testing.T) {
	var r eventtest.Recorder
	f, lab, p := withForge(t, &r)
	before := p.Commit("refs/heads/main", repo(nil))
	after := p.Commit("refs/heads/main", repo(gitlabtest.Tree{"web/package-lock.json": lock + "\n"}))
	lab.Break(gitlabtest.Fault{Path: "/compare", Status: 200, Body: `{"diffs":[{"new_path":"a","old_path":"a"}]}`})
	if _, err := f.Handle(t.Context(), pushOf(t, before, after)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"web"}, asked(t, &r)); d != "" {
		t.Errorf("roots (-want +got):\n%s", d)
	}
}

// GitLab down or refusing is no reason to leave a push unscanned, nor to reject
// it for good.
func TestForgeFaults(t *testing.T) {
	for name, fail := range map[string]gitlabtest.Fault{
		"archive 500": {Path: "/archive", Status: 500}, "archive 403": {Path: "/archive", Status: 403}, "archive 401": {Path: "/archive", Status: 401},
		"archive 429": {Path: "/archive", Status: 429, RetryAfter: 120}, "archive cut": {Path: "/archive", Truncate: true},
		"compare 500": {Path: "/compare", Status: 500}, "file 500": {Path: "/files", Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			var r eventtest.Recorder
			f, lab, p := withForge(t, &r)
			before := p.Commit("refs/heads/main", repo(nil))
			after := p.Commit("refs/heads/main", repo(gitlabtest.Tree{"README.md": "2"}))
			lab.Break(fail)
			if _, err := f.Handle(t.Context(), pushOf(t, before, after)); !fault.Retryable(err) || len(r.Events()) > 0 {
				t.Errorf("got %v with %d events, want transient with none", err, len(r.Events()))
			}
		})
	}
}

func TestMergeRequests(t *testing.T) {
	for name, fork := range map[string]bool{"branch": false, "fork": true} {
		t.Run(name, func(t *testing.T) {
			var r eventtest.Recorder
			f, lab, p := withForge(t, &r)
			p.Commit("refs/heads/main", repo(nil))
			from, path, ref := p, "", "feature"
			if fork {
				from, path, ref = lab.Project(99, "eve/diaspora"), "eve/diaspora", "refs/merge-requests/4/head"
				from.Commit("refs/heads/main", repo(nil))
			}
			from.Commit("refs/heads/feature", repo(gitlabtest.Tree{"web/package-lock.json": lock + "\n"}))
			head := from.Commit("refs/heads/feature", repo(gitlabtest.Tree{"web/package-lock.json": lock + "\n", "README.md": "2"}))
			p.Open(4, from, "feature")
			e, err := event.New(event.RepoMergeRequest, event.Source("gitlabhook"), "mike/diaspora", "mr-1", now, event.MergeRequest{Provider: "gitlab", ProjectID: 15,
				Project: "mike/diaspora", IID: 4, Source: "feature", Target: "main", Head: head, Fork: path, Action: "open", Received: now})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Handle(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Events() {
				q, err := event.Decode[scan.Request](e)
				if err != nil || q.Ref != ref || q.Commit != head || q.Project != "mike/diaspora" || q.Priority != scan.PriorityMergeRequest {
					t.Errorf("request %+v, %v", q, err)
				}
			}
			if roots := asked(t, &r); !slices.Contains(roots, "web") || !fork && len(roots) != 1 {
				t.Errorf("roots %v", roots)
			}
			if n := len(lab.Calls("", "eve/")); n != 0 {
				t.Errorf("%d requests to the fork", n)
			}
		})
	}
}

// shelved are results by scan.
type shelved struct {
	of  map[scan.ID]finding.Verdict
	err error
}

func (s shelved) Get(_ context.Context, id scan.ID) (finding.Result, error) {
	v, ok := s.of[id]
	switch {
	case s.err != nil:
		return finding.Result{}, s.err
	case !ok:
		return finding.Result{}, fault.New("get", fault.Permanent, results.ErrNotFound)
	}
	return finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: id, Revision: 2, Verdict: v}, nil
}

// A scan with an answer is not run again; the answer is told again.
func TestKnownResults(t *testing.T) {
	var r eventtest.Recorder
	f, _, p := withForge(t, &r)
	after := p.Commit("refs/heads/main", repo(gitlabtest.Tree{"third/package.json": `{"name":"a"}`, "third/package-lock.json": lock}))
	if _, err := f.Handle(t.Context(), pushOf(t, "", after)); err != nil {
		t.Fatal(err)
	}
	ids := map[string]scan.ID{}
	for _, e := range r.Events() {
		q, err := event.Decode[scan.Request](e)
		if err != nil {
			t.Fatal(err)
		}
		ids[q.Root] = q.ID
	}
	var again eventtest.Recorder
	f.Emitter, f.Results = &again, shelved{of: map[scan.ID]finding.Verdict{ids["."]: finding.Malicious, ids["web"]: finding.Inconclusive}}
	e := pushOf(t, "", after)
	for range 2 {
		if _, err := f.Handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, e := range again.Events() {
		got[e.Subject()] = e.Type() + " " + event.Extension(e, ExtReused)
		if err := event.Check(e); err != nil {
			t.Error(err)
		}
	}
	want := map[string]string{string(ids["."]): event.ScanFinished + " " + e.ID(), string(ids["web"]): event.ScanRequested + " ", string(ids["third"]): event.ScanRequested + " "}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if list := slices.Sorted(slices.Values(again.IDs())); len(list) != 6 || len(slices.Compact(list)) != 3 {
		t.Errorf("the same push made other events: %v", list)
	}
	f.Results = shelved{err: errors.New("no JetStream")}
	if _, err := f.Handle(t.Context(), e); !fault.Retryable(err) {
		t.Errorf("got %v, want transient", err)
	}
}

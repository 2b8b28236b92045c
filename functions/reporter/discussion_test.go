package reporter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/gitlab/markdown"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// talk is a GitLab with a merge request, and reporters with one memory.
type talk struct {
	t       *testing.T
	lab     *gitlabtest.Server
	project *gitlabtest.Project
	mr      *gitlabtest.MergeRequest
	head    string
	client  *gitlab.Client
	mem     memory

	mu    sync.Mutex
	known map[scan.ID]finding.Result
}

// Get implements Results.
func (k *talk) Get(_ context.Context, id scan.ID) (finding.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.known[id]; ok {
		return r, nil
	}
	return finding.Result{}, fault.New("get", fault.Permanent, results.ErrNotFound)
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	k := &talk{t: t, lab: gitlabtest.New("glpat-test-token"), known: map[scan.ID]finding.Result{}}
	k.project = k.lab.Project(15, "mike/diaspora")
	k.project.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	k.head = k.project.Commit("refs/heads/feature", gitlabtest.Tree{"a": "2"})
	k.mr = k.project.Open(4, k.project, "feature")
	var err error
	if k.client, err = gitlab.New(gitlab.Config{URL: k.lab.Start(t), Token: "glpat-test-token", Wait: time.Millisecond, Tries: 2, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	s, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Log: eventtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if k.mem, err = openMemory(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	return k
}

// reporter is one of several.
func (k *talk) reporter() *Discussions {
	return &Discussions{client: k.client, memory: k.mem, results: k, link: "https://falconer.example.com", now: time.Now, claim: 300 * time.Millisecond}
}

// result stores a result of a commit's project root.
func (k *talk) result(commit, ref, root string, revision int, findings ...finding.Finding) Report {
	r := finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: scan.Key{Project: "mike/diaspora", Commit: commit, Root: root}.ID(), Revision: revision,
		Project: "mike/diaspora", Ref: ref, Commit: commit, Root: root, Manager: "npm", Findings: findings, Finished: eventtest.At().Add(time.Duration(revision) * time.Second)}
	r.Verdict, r.Reasons = finding.Judge(findings, nil)
	k.mu.Lock()
	k.known[r.ScanID] = r
	k.mu.Unlock()
	return Report{Result: &r}
}

func evil(id string) finding.Finding {
	return finding.Finding{ID: id, Rule: "Rule " + id, Priority: finding.Critical, Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1"}, Count: 1}
}

// mild is a finding that is no proof.
func mild(id string, p finding.Priority) finding.Finding {
	f := evil(id)
	f.Priority = p
	return f
}

// deliver hands a report over until it is taken, as a broker does.
func (k *talk) deliver(d *Discussions, r Report) {
	k.t.Helper()
	var err error
	for range 40 {
		if err = d.Deliver(k.t.Context(), r); !fault.Retryable(err) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		k.t.Errorf("deliver: %v", err)
	}
}

// ours returns the one discussion of ours.
func (k *talk) ours() *gitlabtest.Note {
	k.t.Helper()
	var list []*gitlabtest.Note
	for _, d := range k.project.Discussions(4) {
		if strings.HasPrefix(d.Notes[0].Body, markdown.Marker) {
			list = append(list, d.Notes[0])
		}
	}
	if len(list) != 1 {
		k.t.Fatalf("%d discussions of ours, want 1", len(list))
	}
	return list[0]
}

// One discussion through the life of a merge request.
func TestDiscussion(t *testing.T) {
	k := newTalk(t)
	d := k.reporter()
	k.deliver(d, k.result(k.head, "feature", ".", 1))
	if n := len(k.project.Discussions(4)); n != 0 {
		t.Errorf("%d discussions of a clean merge request", n)
	}
	k.deliver(d, k.result(k.project.Commit("refs/heads/main", gitlabtest.Tree{"a": "9"}), "main", "web", 1, mild("old", finding.Error)))
	bad := k.result(k.head, "feature", "web", 1, mild("old", finding.Error), evil("new"), mild("fresh", finding.Warning))
	for range 3 {
		k.deliver(k.reporter(), bad)
	}
	n := k.ours()
	if n.Resolved || !strings.Contains(n.Body, "### Falconer: malicious") || strings.Index(n.Body, "Rule fresh") > strings.Index(n.Body, "Rule old") ||
		!strings.Contains(n.Body, "2 of them new compared with <code>main</code>") || !strings.Contains(n.Body, "<code>&#46;</code> (<code>npm</code>): clean") {
		t.Errorf("after the first verdict: %s", n.Body)
	}
	// A late alert amends it; the older revision that comes again changes nothing.
	k.deliver(d, k.result(k.head, "feature", "web", 2, mild("old", finding.Error), evil("new"), evil("late")))
	edits := k.ours().Edits
	k.deliver(d, bad)
	if n = k.ours(); !strings.Contains(n.Body, "Rule late") || n.Edits != edits {
		t.Errorf("after the amendment (%d edits, then %d): %s", edits, n.Edits, n.Body)
	}
	// A newer commit is clean: resolved. A slow scan of the older one is stale.
	newer := k.project.Commit("refs/heads/feature", gitlabtest.Tree{"a": "3"})
	k.project.Advance(k.mr, k.project)
	k.deliver(d, k.result(newer, "feature", "web", 1))
	k.deliver(d, bad)
	if n = k.ours(); !n.Resolved || !strings.Contains(n.Body, "### Falconer: clean") {
		t.Errorf("after the repair (resolved %v): %s", n.Resolved, n.Body)
	}
	// And bad again: open again.
	newest := k.project.Commit("refs/heads/feature", gitlabtest.Tree{"a": "4"})
	k.project.Advance(k.mr, k.project)
	k.deliver(d, k.result(newest, "feature", "web", 1, evil("new")))
	if n = k.ours(); n.Resolved || !strings.Contains(n.Body, "malicious") {
		t.Errorf("after the relapse (resolved %v): %s", n.Resolved, n.Body)
	}
	// What a commit came to stands, though somebody asks again and is refused.
	k.deliver(d, Report{Rejected: &event.Rejected{Project: "mike/diaspora", Commit: newest, Root: "web", Manager: "npm", Reason: "busy"}})
	if n = k.ours(); !strings.Contains(n.Body, "### Falconer: malicious") {
		t.Errorf("after a refusal: %s", n.Body)
	}
	last := k.project.Commit("refs/heads/feature", gitlabtest.Tree{"a": "5"})
	k.project.Advance(k.mr, k.project)
	rejected := event.Rejected{Project: "mike/diaspora", Commit: last, Root: "web", Manager: "npm", Reason: "/approve @all"}
	k.deliver(d, Report{Rejected: &rejected})
	if n = k.ours(); !strings.Contains(n.Body, "inconclusive") || strings.Contains(n.Body, "@all") || strings.Contains(n.Body, "/approve") {
		t.Errorf("after a rejection: %s", n.Body)
	}
}

// What a merge request is judged by is its own target, whatever the scan was
// compared with when it was planned: a warning that the target has is no news, one
// that only the default branch has is.
func TestDiscussionOfAnotherTarget(t *testing.T) {
	k := newTalk(t)
	d := k.reporter()
	k.deliver(d, k.result(k.project.Commit("refs/heads/main", gitlabtest.Tree{"a": "9"}), "main", "web", 1, mild("w", finding.Warning)))
	planned := func(ref string) Report {
		rep := k.result(k.head, "feature", "web", 1, mild("w", finding.Warning))
		rep.Result.Findings[0].Baseline = finding.Known
		rep.Result.Baseline = finding.Baseline{ScanID: scan.Key{Commit: ref}.ID(), Ref: ref}
		rep.Result.Verdict, rep.Result.Reasons = finding.Judge(rep.Result.Findings, nil)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.known[rep.Result.ScanID] = *rep.Result
		return rep
	}
	k.deliver(d, planned("release"))
	if n := len(k.project.Discussions(4)); n != 0 {
		t.Errorf("%d discussions, though main has the warning too", n)
	}
	k.mr.TargetBranch = "old-release"
	k.deliver(d, planned("release"))
	if n := k.ours(); !strings.Contains(n.Body, "### Falconer: suspicious") || !strings.Contains(n.Body, "there is no scan of <code>old&#45;release</code>") {
		t.Errorf("another target: %s", n.Body)
	}
}

// Many results at once, by several reporters, with GitLab failing now and then:
// one discussion, that shows them all.
func TestDiscussionConcurrently(t *testing.T) {
	k := newTalk(t)
	for range 30 {
		k.project.Say(4, "a thread of somebody else")
	}
	k.lab.Break(gitlabtest.Fault{Method: "POST", Path: "/discussions", Lose: true, Times: 1})
	k.lab.Break(gitlabtest.Fault{Method: "PUT", Status: 502, Times: 3})
	k.lab.Break(gitlabtest.Fault{Method: "GET", Path: "/discussions", Drop: true, Times: 1})
	var wg sync.WaitGroup
	for i := range 8 {
		r := k.result(k.head, "feature", fmt.Sprintf("root%d", i), 1, evil(fmt.Sprintf("number%d", i)))
		for range 2 {
			wg.Go(func() { k.deliver(k.reporter(), r) })
		}
	}
	wg.Wait()
	n := k.ours()
	for i := range 8 {
		if !strings.Contains(n.Body, fmt.Sprintf("<code>root%d</code>", i)) || !strings.Contains(n.Body, fmt.Sprintf("Rule number%d", i)) {
			t.Errorf("root%d is missing", i)
		}
	}
}

// A discussion that memory has lost is found by its marker; one that only looks
// like ours is left alone; one that was deleted comes again.
func TestDiscussionIsFound(t *testing.T) {
	k := newTalk(t)
	d := k.reporter()
	k.project.Say(4, markdown.Marker+"\nby somebody who wants ours to be edited")
	bad := k.result(k.head, "feature", ".", 1, evil("new"))
	k.deliver(d, bad)
	mine := k.project.Discussions(4)[1]
	if err := k.mem.kv.Purge(t.Context(), key("mr", "mike/diaspora", "4")); err != nil {
		t.Fatal(err)
	}
	k.deliver(d, bad)
	all := k.project.Discussions(4)
	if len(all) != 2 || all[1].ID != mine.ID || strings.Contains(all[0].Notes[0].Body, "malicious") {
		t.Errorf("discussions %+v", all)
	}
	m := gitlab.MergeRequest{Project: "mike/diaspora", IID: 4}
	if err := k.client.Remove(t.Context(), m, gitlab.Thread{ID: mine.ID, Note: mine.Notes[0].ID}); err != nil {
		t.Fatal(err)
	}
	k.deliver(d, bad)
	if all = k.project.Discussions(4); len(all) != 2 || all[1].ID == mine.ID {
		t.Errorf("discussions %+v", all)
	}
}

func TestDiscussionFaults(t *testing.T) {
	for name, fail := range map[string]gitlabtest.Fault{
		"lookup 500": {Path: "/merge_requests", Status: 500}, "lookup 403": {Path: "/merge_requests", Status: 403}, "who 401": {Path: "/user", Status: 401},
		"open 403": {Method: "POST", Path: "/discussions", Status: 403}, "open 429": {Method: "POST", Path: "/discussions", Status: 429, RetryAfter: 60},
	} {
		t.Run(name, func(t *testing.T) {
			k := newTalk(t)
			bad := k.result(k.head, "feature", ".", 1, evil("new"))
			k.lab.Break(fail)
			if err := k.reporter().Deliver(t.Context(), bad); !fault.Retryable(err) {
				t.Errorf("got %v, want transient", err)
			}
			k.lab.Mend()
			k.deliver(k.reporter(), bad)
			k.ours()
		})
	}
	k := newTalk(t)
	for name, r := range map[string]Report{"local": {Rejected: &event.Rejected{Project: "local/x", Commit: k.head}}, "no commit": {Rejected: &event.Rejected{Project: "mike/diaspora"}},
		"nothing": {Rejected: &event.Rejected{Project: "mike/diaspora", Commit: k.head, Nothing: true}}} {
		if err := k.reporter().Deliver(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(k.lab.Calls("", "")); n != 0 {
		t.Errorf("%d calls for what is no matter of GitLab's", n)
	}
}

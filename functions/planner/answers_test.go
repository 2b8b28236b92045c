package planner

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/answers"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// The same source at another commit is answered by the scan that there was, and
// says so; one with any other file is scanned, for a script may read it.
func TestSameContentAtAnotherCommit(t *testing.T) {
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
	same, err := answers.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var r eventtest.Recorder
	f, _, p := withForge(t, &r)
	known := shelved{of: map[scan.ID]finding.Verdict{}}
	f.Answers, f.Results = same, whole{known}
	// plan plans a commit and returns what came of its two roots.
	plan := func(sha string) (requested []scan.Request, told []finding.Result) {
		t.Helper()
		had := len(r.Events())
		if _, err := f.Handle(t.Context(), pushOf(t, "", sha)); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events()[had:] {
			switch e.Type() {
			case event.ScanRequested:
				q, err := event.Decode[scan.Request](e)
				if err != nil {
					t.Fatal(err)
				}
				requested = append(requested, q)
			case event.ScanFinished:
				q, err := event.Decode[finding.Result](e)
				if err != nil || event.Extension(e, ExtReused) == "" {
					t.Fatal(err, e)
				}
				told = append(told, q)
			}
		}
		return requested, told
	}
	first := p.Commit("refs/heads/main", repo(nil))
	asked, _ := plan(first)
	again := p.Commit("refs/heads/other", repo(nil))
	if requested, told := plan(again); len(requested) != 2 || len(told) != 0 {
		t.Fatalf("while there is no answer: %d requests, %d answers", len(requested), len(told))
	}
	known.of[asked[0].ID], known.of[asked[1].ID] = finding.Malicious, finding.Inconclusive
	for _, q := range asked { // as if the second commit's scans had never been
		if err := same.Remember(t.Context(), content(q), q.ID); err != nil {
			t.Fatal(err)
		}
	}
	third := p.Commit("refs/heads/third", repo(nil))
	requested, told := plan(third)
	if len(requested) != 1 || requested[0].Root != asked[1].Root || len(told) != 1 {
		t.Fatalf("%d requests, %d answers, want one each: what is inconclusive is asked for anew", len(requested), len(told))
	}
	got := told[0]
	if got.ScanID != asked[0].ID || got.Commit != third || got.Ref != "main" || got.Verdict != finding.Malicious {
		t.Errorf("%+v", got)
	}
	if d := cmp.Diff("answered by scan "+string(asked[0].ID), strings.Join(strings.Fields(got.Reasons[len(got.Reasons)-1])[:4], " ")); d != "" {
		t.Error(d)
	}
	// Somebody vouches for it meanwhile: what there was is no answer any more.
	f.Planner.Suppressions = suppress.File{Entries: []scan.Suppression{{Source: "central.yaml", Package: "pkg:npm/a", Version: "1.0.0", Rule: "R", Owner: "o", Reason: "r", Expires: "2099-12-31"}}}
	if requested, told := plan(p.Commit("refs/heads/vouched", repo(nil))); len(requested) != 2 || len(told) != 0 {
		t.Errorf("under another policy: %d requests, %d answers", len(requested), len(told))
	}
	if requested, told := plan(p.Commit("refs/heads/fourth", repo(gitlabtest.Tree{"build.js": "evil()"}))); len(requested) != 2 || len(told) != 0 {
		t.Errorf("another source: %d requests, %d answers", len(requested), len(told))
	}
}

// whole gives shelved results the project that they are of.
type whole struct{ shelved }

// Get implements Results.
func (w whole) Get(ctx context.Context, id scan.ID) (finding.Result, error) {
	r, err := w.shelved.Get(ctx, id)
	r.Project, r.Commit = "mike/diaspora", "0123456789abcdef"
	if r.Verdict == finding.Malicious {
		r.Findings = []finding.Finding{{ID: "1", Rule: "R", Priority: finding.Critical, Package: finding.Package{PURL: "pkg:npm/a@1.0.0", Name: "a", Version: "1.0.0"}}}
	}
	return r, err
}

package heads_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func scanOf(n int, at time.Time) heads.Scan {
	return heads.Scan{ID: scan.Key{Commit: fmt.Sprint(n)}.ID(), Commit: fmt.Sprint(n), At: at}
}

func TestScans(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	l := heads.Line{Project: "mike/diaspora", Ref: "refs/heads/main", Root: ".", Manager: "npm"}
	if list, err := s.Scans(ctx, l); err != nil || len(list) != 0 {
		t.Errorf("nothing was noted: %v, %v", list, err)
	}
	note := func(l heads.Line, n int, after time.Duration) {
		t.Helper()
		if err := s.Scanned(ctx, l, scanOf(n, at.Add(after))); err != nil {
			t.Fatal(err)
		}
	}
	want := func(l heads.Line, commits ...int) {
		t.Helper()
		list, err := s.Scans(ctx, l)
		got := []int{}
		for _, x := range list {
			var n int
			_, _ = fmt.Sscan(x.Commit, &n)
			got = append(got, n)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(commits) {
			t.Errorf("%v, %v; want %v", got, err, commits)
		}
	}
	note(l, 2, 2*time.Minute)
	note(l, 1, time.Minute) // told late
	want(l, 2, 1)
	note(l, 2, 2*time.Minute) // told twice
	note(l, 2, time.Minute)
	want(l, 2, 1)
	note(l, 1, 3*time.Minute) // what it was at before, again
	want(l, 1, 2)
	other := heads.Line{Project: l.Project, Ref: l.Ref, Root: "web", Manager: "npm"}
	note(other, 7, 0)
	want(other, 7)
	branch := heads.Line{Project: l.Project, Ref: "refs/heads/feature", Root: ".", Manager: "npm"}
	note(branch, 8, 0)
	if err := s.Note(ctx, heads.Head{Project: l.Project, Ref: l.Ref, SHA: "x", At: at}); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Of(ctx, l.Project); err != nil || len(all) != 1 {
		t.Errorf("branches: %v, %v", all, err)
	}
	if all, err := s.Projects(ctx); err != nil || len(all) != 1 {
		t.Errorf("projects: %v, %v", all, err)
	}
	if err := s.Forget(ctx, l.Project, l.Ref); err != nil {
		t.Fatal(err)
	}
	want(l)
	want(other)
	want(branch, 8)
	var all sync.WaitGroup
	for n := range 8 { // more at once than are kept
		all.Go(func() {
			for i := range 5 {
				if err := s.Scanned(ctx, l, scanOf(n*5+i, at.Add(time.Duration(n*5+i)*time.Second))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if list, err := s.Scans(ctx, l); err != nil || len(list) != heads.MaxScans || list[0].Commit != "39" || list[heads.MaxScans-1].Commit != "10" {
		t.Errorf("%d scans, %v", len(list), err)
	}
}

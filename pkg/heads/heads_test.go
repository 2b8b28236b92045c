package heads_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/natsd"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *heads.Store {
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
	s, err := heads.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever a branch or project is called, it is a key of its own; the later push
// stands, in whichever order they are noted.
func TestNote(t *testing.T) {
	s, ctx := open(t), t.Context()
	names := []string{"refs/heads/main", "refs/heads/*", "refs/heads/>", "refs/heads/a b.c", "refs/heads/\u202e"}
	for _, project := range []string{"a/b", "a/b.c", "a/*"} {
		for i, ref := range names {
			for _, minutes := range []int{1, 3, 2} {
				if err := s.Note(ctx, heads.Head{Project: project, Ref: ref, SHA: fmt.Sprint(i, minutes), At: at.Add(time.Duration(minutes) * time.Minute)}); err != nil {
					t.Fatal(err)
				}
			}
			h, ok, err := s.Get(ctx, project, ref)
			if err != nil || !ok || h.SHA != fmt.Sprint(i, 3) {
				t.Errorf("%s of %s: %+v %v %v", ref, project, h, ok, err)
			}
		}
		of, err := s.Of(ctx, project)
		if err != nil || len(of) != len(names) {
			t.Errorf("%s: %d branches, %v", project, len(of), err)
		}
	}
	all, err := s.Projects(ctx)
	if err != nil || len(all) != 3 {
		t.Errorf("%d projects, %v", len(all), err)
	}
	if err := s.Forget(ctx, "a/b", names[0]); err != nil {
		t.Fatal(err)
	}
	if h, ok, err := s.Get(ctx, "a/b", names[0]); ok || err != nil {
		t.Errorf("a branch that is gone: %+v, %v", h, err)
	}
}

func TestAsk(t *testing.T) {
	s, ctx := open(t), t.Context()
	for i := range 3 {
		if err := s.Ask(ctx, "a/b", "refs/heads/main", "sha-1", at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	want := heads.Head{Project: "a/b", Ref: "refs/heads/main", Asked: "sha-1", AskedAt: at.Add(2 * time.Hour), Asks: 3}
	got, _, err := s.Get(ctx, "a/b", "refs/heads/main")
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if err := s.Ask(ctx, "a/b", "refs/heads/main", "sha-2", at); err != nil {
		t.Fatal(err)
	}
	if got, _, err = s.Get(ctx, "a/b", "refs/heads/main"); err != nil || got.Asks != 1 || got.Asked != "sha-2" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Many that write at once leave what the last push was.
func TestNoteAtOnce(t *testing.T) {
	s, ctx := open(t), t.Context()
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			if err := s.Note(ctx, heads.Head{Project: "a/b", Ref: "refs/heads/main", SHA: fmt.Sprint(i), At: at.Add(time.Duration(i) * time.Second)}); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if h, _, err := s.Get(ctx, "a/b", "refs/heads/main"); err != nil || h.SHA != "7" {
		t.Errorf("%+v, %v", h, err)
	}
}

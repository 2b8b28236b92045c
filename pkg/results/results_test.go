package results

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const one, two = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab"), scan.ID("1b2f6a4e-3c1d-5e8f-a7b6-0123456789ab")

func result(id scan.ID, revision int) finding.Result {
	return finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: id, Revision: revision, Verdict: finding.Clean}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), eventtest.NATS(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRevisionsFollowEachOther(t *testing.T) {
	s := open(t)
	if done, err := s.Finished(t.Context(), one); done || err != nil {
		t.Fatal(done, err)
	}
	if _, err := s.Get(t.Context(), one); !errors.Is(err, ErrNotFound) || fault.Retryable(err) {
		t.Fatalf("no result: %v", err)
	}
	for _, step := range []struct {
		revision int
		want     error
	}{{2, ErrNotFound}, {1, nil}, {1, ErrConflict}, {3, ErrConflict}, {2, nil}, {2, ErrConflict}, {3, nil}} {
		if err := s.Put(t.Context(), result(one, step.revision)); !errors.Is(err, step.want) {
			t.Fatalf("revision %d: %v, want %v", step.revision, err, step.want)
		}
	}
	got, err := s.Get(t.Context(), one)
	if err != nil || got.Revision != 3 {
		t.Errorf("revision %d, %v", got.Revision, err)
	}
	if done, err := s.Finished(t.Context(), one); !done || err != nil {
		t.Error(done, err)
	}
}

func TestWildcardsAreNoScans(t *testing.T) {
	s := open(t)
	if _, err := s.Get(t.Context(), ">"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("Get: %v", err)
	}
	if err := s.Watch(t.Context(), "*", nil); fault.KindOf(err) != fault.Invalid {
		t.Errorf("Watch: %v", err)
	}
}

func TestListAndWatch(t *testing.T) {
	s := open(t)
	for _, r := range []finding.Result{result(one, 1), result(two, 1), result(one, 2)} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	var listed []int
	if err := s.List(t.Context(), func(r finding.Result) bool { listed = append(listed, r.Revision); return true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 2}, listed); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var seen []int
	err := s.Watch(ctx, one, func(r finding.Result) bool {
		if seen = append(seen, r.Revision); r.Revision == 2 {
			if err := s.Put(ctx, result(one, 3)); err != nil {
				t.Error(err)
			}
		}
		return r.Revision < 3
	})
	if diff := cmp.Diff([]int{2, 3}, seen); diff != "" || err != nil {
		t.Error(diff, err)
	}
	cancel()
	if err := s.Watch(ctx, "", func(finding.Result) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

package runs_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var id = scan.Key{Project: "acme/shop"}.ID()

func run(attempt int) runs.Run {
	at := eventtest.At()
	return runs.Run{Request: scan.Request{ID: id, Project: "acme/shop"}, Attempt: attempt, Job: "falconer-scan-" + string(id),
		Namespace: "sandbox", Sensor: "gvisor", Packages: 3, Created: at, Deadline: at.Add(time.Minute), Cause: "e1"}
}

func open(t *testing.T) *runs.Store {
	t.Helper()
	s, err := runs.Open(t.Context(), eventtest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARecordIsWhatWasPut(t *testing.T) {
	s := open(t)
	if _, err := s.Get(t.Context(), id); !errors.Is(err, runs.ErrNotFound) || fault.KindOf(err) != fault.Permanent {
		t.Errorf("before: %v", err)
	}
	for _, attempt := range []int{1, 1, 2} {
		if err := s.Put(t.Context(), run(attempt)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), run(1)); !errors.Is(err, runs.ErrNewer) || fault.Retryable(err) {
		t.Errorf("an older attempt: %v, want ErrNewer", err)
	}
	got, err := s.Get(t.Context(), id)
	if diff := cmp.Diff(run(2), got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestADeletedRecordCanComeAgain(t *testing.T) {
	s := open(t)
	for range 2 {
		if err := s.Put(t.Context(), run(1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), id); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("list: %v, %v", list, err)
		}
	}
}

func TestWhatWasGivenUpStaysSo(t *testing.T) {
	s, given := open(t), run(1)
	given.GivenUp = "superseded by c0ffee"
	for _, r := range []runs.Run{given, run(1)} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), id); err != nil || got.GivenUp != given.GivenUp {
			t.Errorf("given up: %q, %v", got.GivenUp, err)
		}
	}
	if err := s.Put(t.Context(), run(2)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), id); err != nil || got.GivenUp != "" {
		t.Errorf("the next attempt: %q, %v", got.GivenUp, err)
	}
}

func TestUnusableRecords(t *testing.T) {
	s := open(t)
	for _, r := range []runs.Run{{}, {Request: scan.Request{ID: id}}, {Request: scan.Request{ID: "../x"}, Attempt: 1}} {
		if err := s.Put(t.Context(), r); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("put %+v: %v", r, err)
		}
	}
	if _, err := s.Get(t.Context(), "*"); fault.KindOf(err) != fault.Invalid || err == nil {
		t.Errorf("get: %v", err)
	}
	if err := s.Delete(t.Context(), ">"); fault.KindOf(err) != fault.Invalid || err == nil {
		t.Errorf("delete: %v", err)
	}
}

func TestLongListsAreCutAndSaySo(t *testing.T) {
	s, r := open(t), run(1)
	for i := range runs.MaxScripts + 5 {
		r.InstallScripts = append(r.InstallScripts, finding.ScriptPackage{Package: finding.Package{Name: fmt.Sprint("p", i)}})
		r.Problems = append(r.Problems, fmt.Sprint("problem ", i))
	}
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), id)
	if err != nil || len(got.InstallScripts) != runs.MaxScripts || len(got.Problems) != runs.MaxProblems {
		t.Fatalf("%d scripts, %d problems, %v", len(got.InstallScripts), len(got.Problems), err)
	}
	if last := got.Problems[runs.MaxProblems-1]; !strings.Contains(last, "1906 more problems") {
		t.Errorf("last problem: %q", last)
	}
}

// Writers at once end with the latest attempt, whatever their order.
func TestManyWriters(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for attempt := range 6 {
		wg.Go(func() {
			if err := s.Put(t.Context(), run(attempt+1)); err != nil && !errors.Is(err, runs.ErrNewer) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := s.Get(t.Context(), id); err != nil || got.Attempt != 6 {
		t.Errorf("attempt %d, %v", got.Attempt, err)
	}
}

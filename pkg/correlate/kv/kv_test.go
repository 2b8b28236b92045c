package kv

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const id = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab")

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), eventtest.NATS(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSaveIsConditional(t *testing.T) {
	s := open(t)
	state, version, err := s.Load(t.Context(), id)
	if err != nil || version != 0 || state.ScanID != id {
		t.Fatalf("a scan never heard of: %+v, %d, %v", state, version, err)
	}
	state.Started = &event.Started{Attempt: 1, At: time.Unix(1, 0).UTC()}
	if err := s.Save(t.Context(), state, 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), state, 0, time.Time{}); !errors.Is(err, correlate.ErrConflict) {
		t.Errorf("a second first time: %v", err)
	}
	got, version, err := s.Load(t.Context(), id)
	if diff := cmp.Diff(state, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	for i, want := range []error{nil, correlate.ErrConflict} {
		if err := s.Save(t.Context(), state, version, time.Time{}); !errors.Is(err, want) {
			t.Errorf("save %d on the same version: %v, want %v", i+1, err, want)
		}
	}
}

func TestOverdue(t *testing.T) {
	s, due := open(t), time.Unix(1000, 0)
	state := correlate.State{ScanID: id}
	if err := s.Save(t.Context(), state, 0, due); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time][]scan.ID{due.Add(-1): nil, due: {id}} {
		if got, err := s.Overdue(t.Context(), at); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("at %v: %v, %v", at, got, err)
		}
	}
	_, version, err := s.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), state, version, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Overdue(t.Context(), due); err != nil || len(got) != 0 {
		t.Errorf("settled: %v, %v", got, err)
	}
}

func TestReported(t *testing.T) {
	s := open(t)
	for _, want := range []bool{false, true} {
		if got, err := s.Reported(t.Context(), "00ff"); got != want || err != nil {
			t.Errorf("reported %v, %v; want %v", got, err, want)
		}
		if err := s.Report(t.Context(), "00ff"); err != nil {
			t.Fatal(err)
		}
	}
}

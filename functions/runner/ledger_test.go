package runner_test

import (
	"sync"
	"testing"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func TestAttempts(t *testing.T) {
	nc := eventtest.NATS(t)
	published, err := results.Open(t.Context(), nc, results.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := runner.OpenLedger(t.Context(), nc, published)
	if err != nil {
		t.Fatal(err)
	}
	id := scan.Key{Project: "acme/shop"}.ID()
	for i, c := range []struct {
		cause string
		want  int
	}{{"a", 1}, {"a", 1}, {"", 2}, {"", 3}, {"b", 4}, {"b", 4}, {"a", 5}} {
		if got, err := l.AttemptFor(t.Context(), id, c.cause); got != c.want || err != nil {
			t.Errorf("%d: attempt %d for %q, %v, want %d", i, got, c.cause, err, c.want)
		}
	}
	if got, err := l.Attempt(t.Context(), id); got != 6 || err != nil {
		t.Errorf("attempt %d, %v", got, err)
	}
}

// Runners that count at once for one event count one attempt.
func TestAttemptsAtOnce(t *testing.T) {
	nc := eventtest.NATS(t)
	published, err := results.Open(t.Context(), nc, results.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := runner.OpenLedger(t.Context(), nc, published)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := l.AttemptFor(t.Context(), "5080573c-38f3-589b-b3c4-de41949d8959", "a"); got != 1 || err != nil {
				t.Errorf("attempt %d, %v", got, err)
			}
		})
	}
	wg.Wait()
}

package runner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

func TestNumbersFromTheEnvironment(t *testing.T) {
	for text, want := range map[string]int{"": 7, "1": 1, "64": 64, "0": -1, "65": -1, "-1": -1, "two": -1, "1e3": -1} {
		got, err := number(func(string) string { return text }, "N", 7, 1, 64)
		if want < 0 {
			if fault.KindOf(err) != fault.Permanent || err == nil || !strings.Contains(err.Error(), "N is") {
				t.Errorf("%q: %d, %v, want a permanent error", text, got, err)
			}
		} else if got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestQueueRunsSoManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, most, done := 0, 0, 0 // guarded by lock
		lock := make(chan struct{}, 1)
		q := newQueue(2, function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) {
			lock <- struct{}{}
			running++
			most = max(most, running)
			<-lock
			time.Sleep(time.Minute)
			lock <- struct{}{}
			running--
			done++
			<-lock
			return nil, nil
		}))
		for range 5 {
			go func() {
				if _, err := q.Handle(t.Context(), ce.New()); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("gone"))
		defer cancel()
		if _, err := q.Handle(impatient, ce.New()); !fault.Retryable(err) || err == nil {
			t.Errorf("a request nobody waits for any more: %v, want a transient error", err)
		}
		time.Sleep(10 * time.Minute)
		if most != 2 || done != 5 {
			t.Errorf("%d at once, %d done, want 2 and 5", most, done)
		}
	})
}

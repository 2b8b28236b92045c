package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

func read(t *testing.T, r *rig, q broker.Query) []string {
	t.Helper()
	var got []string
	for s, err := range r.Events(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s %s", s.Seq, s.Event.Type(), s.Event.ID()))
		if len(s.Event.Extensions()) > 0 {
			t.Errorf("extensions of ours show: %v", s.Event.Extensions())
		}
	}
	return got
}

func TestEvents(t *testing.T) {
	r := open(t, setup{})
	if got := read(t, r, broker.Query{}); got != nil {
		t.Errorf("an empty log holds %v", got)
	}
	e := eventtest.Event("b", "3")
	e.SetSubject("s")
	r.emit(t, eventtest.Event("a", "1"), eventtest.Event("a.b", "2"), e)
	time.Sleep(5 * time.Millisecond)
	mid := time.Now()
	time.Sleep(5 * time.Millisecond)
	r.emit(t, eventtest.Event("a", "4"))
	tests := map[string]struct {
		q    broker.Query
		want []string
	}{
		"all":     {broker.Query{}, []string{"1 a 1", "2 a.b 2", "3 b 3", "4 a 4"}},
		"after":   {broker.Query{After: 2}, []string{"3 b 3", "4 a 4"}},
		"since":   {broker.Query{Since: mid}, []string{"4 a 4"}},
		"future":  {broker.Query{Since: mid.Add(time.Hour)}, nil},
		"type":    {broker.Query{Type: "a"}, []string{"1 a 1", "4 a 4"}},
		"subject": {broker.Query{Subject: "s"}, []string{"3 b 3"}},
		"limit":   {broker.Query{Type: "a", Limit: 1}, []string{"1 a 1"}},
		"beyond":  {broker.Query{After: 9}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, r, tt.q)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	r := open(t, setup{})
	r.emit(t, eventtest.Event("a", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string)
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		for s, err := range r.Events(ctx, broker.Query{Follow: true}) {
			if err != nil {
				ended <- err
				return
			}
			got <- s.Event.ID()
		}
	}()
	for i := range 20 {
		if id := <-got; id != fmt.Sprint(i+1) {
			t.Fatalf("got %s, want %d", id, i+1)
		}
		r.emit(t, eventtest.Event("a", fmt.Sprint(i+2)))
	}
	<-got
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end of the context is an error: %v", err)
	}
}

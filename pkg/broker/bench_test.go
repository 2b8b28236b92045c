package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/function"
)

func benchRig(b *testing.B, handled func()) *rig {
	f := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { handled(); return nil, nil })
	r := open(b, setup{triggers: map[string]string{"f": onlyA, "g": "  filters: [{exact: {type: b}}]"}, handlers: map[string]function.Handler{"g": f}})
	r.Subscribe("f", f, broker.Concurrency(8))
	if err := r.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { shut(b, r) })
	return r
}

// BenchmarkLatency is the time from Emit's call to the handler's, one event at
// a time, durable in between.
func BenchmarkLatency(b *testing.B) {
	at := make(chan time.Time, 1)
	r := benchRig(b, func() { at <- time.Now() })
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		r.emit(b, eventtest.Event("a", fmt.Sprint(i)))
		took = append(took, (<-at).Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkThroughput emits from 8 goroutines and waits until all is handled.
func BenchmarkThroughput(b *testing.B) {
	done := make(chan struct{}, 1024)
	r := benchRig(b, func() { done <- struct{}{} })
	b.ResetTimer()
	for w := range 8 {
		go func() {
			for i := w; i < b.N; i += 8 {
				if err := r.Emit(context.Background(), eventtest.Event("a", fmt.Sprint(i))); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	for range b.N {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

//go:build cluster

package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

// BenchmarkPush measures how long a push takes to become a Job, from the moment
// that GitLab sends its webhook, with everything at zero and with all functions
// up. Warm pushes come in pairs behind one that wakes, each as soon as the
// other's Job is there, since functions are gone again when a scan has ended;
// then their verdicts are waited for, so that a push never waits for one of the
// four slots. hook-p50-ms is when the webhook was answered: with in-memory
// channels that is after every function it woke had its events.
func BenchmarkPush(b *testing.B) {
	b.Run("zero", func(b *testing.B) { benchPush(b, true) })
	b.Run("warm", func(b *testing.B) { benchPush(b, false) })
}

func benchPush(b *testing.B, zero bool) {
	r := open(b)
	var toJob, toAnswer, toVerdict []time.Duration
	var pending []func()
	once := func(project string, measured bool) {
		id, pushed := r.push(world.Push{Project: project, Case: "benign-plain"})
		_, created := r.job(id, time.Minute)
		if measured {
			toAnswer = append(toAnswer, pushed.Answered.Sub(pushed.Sent))
			toJob = append(toJob, created.Sub(pushed.Sent))
		}
		pending = append(pending, func() {
			status := r.final(project, pushed.Commit, 5*time.Minute)
			toVerdict = append(toVerdict, status.Received.Sub(pushed.Sent))
		})
	}
	verdicts := func() {
		for _, wait := range pending {
			wait()
		}
		pending = nil
	}
	for n := 0; b.Loop(); n++ {
		switch {
		case zero:
			verdicts()
			b.StopTimer()
			r.zero()
			b.StartTimer()
		case n%2 == 0:
			verdicts()
			once(fmt.Sprintf("acme/bench-%s-wake-%d", run, n), false)
		}
		once(fmt.Sprintf("acme/bench-%s-%v-%d", run, zero, n), true)
	}
	verdicts()
	for name, list := range map[string][]time.Duration{"hook": toAnswer, "job": toJob, "verdict": toVerdict} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Milliseconds()), name+"-p50-ms")
		b.ReportMetric(float64(list[len(list)-1].Milliseconds()), name+"-max-ms")
	}
}

// BenchmarkFiftyScans queues 50 scans at once and waits for their verdicts.
func BenchmarkFiftyScans(b *testing.B) {
	r := open(b)
	for b.Loop() {
		ids := make([]scan.ID, 0, stormScans)
		start := time.Now()
		for n := range stormScans {
			id, _ := r.push(world.Push{Project: fmt.Sprintf("acme/fifty-%s-%d-%d", run, start.UnixNano(), n), Case: "benign-plain"})
			ids = append(ids, id)
		}
		for _, id := range ids {
			r.result(id, 20*time.Minute)
		}
		b.ReportMetric(float64(stormScans)/time.Since(start).Minutes(), "scans/min")
	}
}

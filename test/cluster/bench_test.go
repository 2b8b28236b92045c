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
// that GitLab sends its webhook: with everything at zero, up to the verdict, and
// warm, one push after the other before the functions go to zero again.
// hook-p50-ms is when the webhook was answered.
func BenchmarkPush(b *testing.B) {
	b.Run("zero", func(b *testing.B) { benchPush(b, true) })
	b.Run("warm", func(b *testing.B) { benchPush(b, false) })
}

func benchPush(b *testing.B, zero bool) {
	r := open(b)
	var toJob, toAnswer, toVerdict []time.Duration
	if !zero { // the first one wakes
		id, _ := r.push(world.Push{Project: "acme/bench-" + run + "-wake", Case: "benign-plain"})
		r.job(id, time.Minute)
	}
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		if zero {
			r.zero()
		}
		project := fmt.Sprintf("acme/bench-%s-%v-%d", run, zero, n)
		b.StartTimer()
		id, pushed := r.push(world.Push{Project: project, Case: "benign-plain"})
		_, created := r.job(id, time.Minute)
		toAnswer = append(toAnswer, pushed.Answered.Sub(pushed.Sent))
		toJob = append(toJob, created.Sub(pushed.Sent))
		if zero {
			status := r.final(project, pushed.Commit, 5*time.Minute)
			toVerdict = append(toVerdict, status.Received.Sub(pushed.Sent))
		}
	}
	for name, list := range map[string][]time.Duration{"hook": toAnswer, "job": toJob, "verdict": toVerdict} {
		if len(list) == 0 {
			continue
		}
		b.ReportMetric(float64(median(list).Milliseconds()), name+"-p50-ms")
	}
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
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

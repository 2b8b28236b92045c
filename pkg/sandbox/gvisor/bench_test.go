package gvisor_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// BenchmarkStart is the shortest possible run, with tracing on. "start" is the
// time until a program inside has said its first word, "total" includes the
// end: nothing runs and nothing is mounted any more.
func BenchmarkStart(b *testing.B) {
	d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(b, testRules), Sinkhole: true, TempDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	m := shell{"echo up"}
	p, err := m.Load(nil, ".")
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	var start, total []time.Duration
	for b.Loop() {
		var once sync.Once
		var up time.Duration
		began := time.Now()
		r, err := d.Run(b.Context(), sandbox.Spec{ScanID: scan.Key{Project: b.Name()}.ID(), Dir: dir, Project: p, Manager: m,
			Limits:   sandbox.Limits{Wall: time.Minute},
			Progress: func(string) { once.Do(func() { up = time.Since(began) }) }}, &alertLog{})
		if err != nil {
			b.Fatal(err)
		}
		if r.Log != "up\n" || r.Sandbox.ExitCode != 0 || len(r.Incomplete) > 0 {
			b.Fatalf("exit code %d, output %q, incomplete %q", r.Sandbox.ExitCode, r.Log, r.Incomplete)
		}
		start, total = append(start, up), append(total, time.Since(began))
	}
	for name, took := range map[string][]time.Duration{"start": start, "total": total} {
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds()*1000, name+"-p50-ms")
		b.ReportMetric(took[len(took)*9/10].Seconds()*1000, name+"-p90-ms")
	}
}

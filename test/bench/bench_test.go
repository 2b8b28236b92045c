package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseBenchmarks(t *testing.T) {
	const out = `goos: linux
pkg: example.com/x
cpu: A Processor @ 2.00GHz
BenchmarkGate/batched-2         	   20000	     51234 ns/op	        33000 alerts/s	      1402 bytes/alert
BenchmarkMatch/a-b/all         	     100	      88.5 ns/op	       0 B/op	       3 allocs/op
BenchmarkFailed-2 	--- FAIL: BenchmarkFailed-2
PASS
ok  	example.com/x	2.1s
`
	got, err := parseBenchmarks(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	want := []benchmarkLine{
		{"Gate/batched", []benchmarkValue{{51234, "ns/op"}, {33000, "alerts/s"}, {1402, "bytes/alert"}}},
		{"Match/a-b/all", []benchmarkValue{{88.5, "ns/op"}, {0, "B/op"}, {3, "allocs/op"}}},
	}
	opts := cmp.AllowUnexported(benchmarkLine{}, benchmarkValue{})
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]benchmarkValue{{33000, "alerts/s"}}, got[0].telling(), opts); diff != "" {
		t.Errorf("with measures of its own (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]benchmarkValue{{88.5, "ns/op"}, {3, "allocs/op"}}, got[1].telling(), opts); diff != "" {
		t.Errorf("without (-want +got):\n%s", diff)
	}
	if _, err := parseBenchmarks(strings.NewReader("BenchmarkX 1 many ns/op\n")); err == nil {
		t.Error("a result that is no number is taken")
	}
}

// measured is a run with a few results.
func measured() *Run {
	r := &Run{Config: Config{Rounds: 3, Progress: &bytes.Buffer{}}, part: "scan",
		Machine: Machine{CPU: "A Processor", Cores: 2, Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	for _, v := range []float64{4, 2, 3} {
		r.sample(nativeInstall, "s", v)
		r.sample(scanTotal, "s", v*1.5)
	}
	r.note(straceInstall, "s", "not there")
	r.part = "gate"
	for _, v := range []float64{1000, 3000, 2000, 4000} {
		r.sample("alerts.JetStream", "alerts/s", v)
		r.sample("falcogate.Gate/keepalive", "alerts/s", v/2)
	}
	compare(r.Results)
	return r
}

func TestResults(t *testing.T) {
	want := []Result{
		{Part: "scan", Name: nativeInstall, Unit: "s", Median: 3, Best: 2, Samples: []float64{4, 2, 3}},
		{Part: "scan", Name: scanTotal, Unit: "s", Median: 4.5, Best: 3, Samples: []float64{6, 3, 4.5},
			Against: &Ratio{nativeInstall, 1.5, 1.5}, Aim: "at most 1.25× of npm ci, aim 1.1×"},
		{Part: "scan", Name: straceInstall, Unit: "s", Note: "not there"},
		{Part: "gate", Name: "alerts.JetStream", Unit: "alerts/s", Median: 2500, Best: 4000, Samples: []float64{1000, 3000, 2000, 4000}},
		{Part: "gate", Name: "falcogate.Gate/keepalive", Unit: "alerts/s", Median: 1250, Best: 2000, Samples: []float64{500, 1500, 1000, 2000},
			Against: &Ratio{"alerts.JetStream", .5, .5}, Aim: "at least 10,000"},
	}
	if diff := cmp.Diff(want, measured().Results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := measured().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.Lines(b.String()) {
		var o struct {
			Kind    string
			CPU     string
			Samples []float64
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if o.Kind == "machine" && o.CPU != "A Processor" {
			t.Errorf("machine: %s", line)
		}
		kinds = append(kinds, o.Kind)
	}
	if diff := cmp.Diff([]string{"machine", "result", "result", "result", "result", "result"}, kinds); diff != "" {
		t.Error(diff)
	}
}

// TestDocument writes figures twice: what stands around the marks stays.
func TestDocument(t *testing.T) {
	name := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(name, []byte("before\n"+documentBegin+"old\n"+documentEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := measured().WriteDocument(name); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	for _, want := range []string{"A Processor, 2 cores", "| falconer scan | 4.50 s | 3.00 s | 1.50×, 1.50× of npm ci |", "- strace -f npm ci: not there\n", "| alerts.JetStream | 2,500 alerts/s |"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q stands there %d times:\n%s", want, strings.Count(got, want), got)
		}
	}
	if !strings.HasPrefix(got, "before\n"+documentBegin) || !strings.HasSuffix(got, documentEnd+"after\n") || strings.Contains(got, "old") {
		t.Errorf("the rest changed:\n%s", got)
	}
	if err := os.WriteFile(name, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := measured().WriteDocument(name); err == nil {
		t.Error("a document without marks was overwritten")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", .0123: "0.0123", 1.234: "1.23", 12.34: "12.3", 99.96: "100.0", 123.6: "124", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}

// TestRun measures a program whose child outlives it by a moment. With control
// groups its CPU time counts too; without them it can't.
func TestRun(t *testing.T) {
	r := &Run{scratch: t.TempDir()}
	got, output, err := r.run(t.Context(), t.TempDir(), []string{"WORD=said"}, "/bin/sh", "-c",
		`echo $WORD; (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done) & exit 3`)
	if err != nil || got.code != 3 || output != "said\n" || got.wall <= 0 || got.how == "" {
		t.Errorf("%+v, output %q, %v", got, output, err)
	}
	if got.how == "CPU by cgroup" && got.cpu < 10*time.Millisecond {
		t.Errorf("%s of CPU: the child was not counted", got.cpu)
	}
	if _, _, err := r.run(t.Context(), t.TempDir(), nil, "/bin/sh", "-c", "kill -9 $$"); err == nil {
		t.Error("a killed program is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := r.run(ctx, t.TempDir(), nil, "/bin/sleep", "60"); err == nil {
		t.Error("an interrupted program is no error")
	}
}

func TestUnknownPart(t *testing.T) {
	if _, err := Measure(t.Context(), Config{Parts: []string{"none"}}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v", err)
	}
}

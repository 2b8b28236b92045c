package bench

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// goBenchmark is a Go benchmark function that stands beside what it measures.
type goBenchmark struct {
	part  string
	pkg   string // directory below the root
	match string // -test.bench
	time  string // -test.benchtime
	quick string // the same for a quick run
}

// goBenchmarkList in the order in which a round runs them.
var goBenchmarkList = []goBenchmark{
	{"start", "pkg/sandbox/gvisor", "^BenchmarkStart$", "20x", "1x"},

	{"gate", "pkg/alerts", "^(BenchmarkJetStream|BenchmarkPut)$", "2s", "100x"},
	{"gate", "functions/falcogate", "^BenchmarkGate$", "2s", "200x"},
	{"gate", "functions/correlator", "^BenchmarkJoin$", "10000x", "200x"},

	{"inside", "pkg/broker", "^(BenchmarkLatency|BenchmarkThroughput)$", "2s", "50x"},
	{"inside", "functions/gitlabhook", "^BenchmarkLatency$", "10000x", "100x"},
	{"inside", "pkg/report/gitlabreport", "^BenchmarkThousandFindings$", "2s", "2x"},
	{"inside", "pkg/report/sarif", "^BenchmarkThousandFindings$", "2s", "2x"},
	{"inside", "pkg/report/osv", "^BenchmarkThousandFindings$", "2s", "2x"},
	{"inside", "pkg/report/cyclonedx", "^BenchmarkThousandFindings$", "2s", "2x"},
	{"inside", "pkg/gitlab/markdown", "^BenchmarkThousandFindings$", "2s", "2x"},
	{"inside", "pkg/falco", "^(BenchmarkDecode|BenchmarkDigest)$", "1s", "10x"},
	{"inside", "pkg/falco/rules", "^BenchmarkMatch$", "1s", "10x"},
	{"inside", "pkg/sensor", "^BenchmarkSensor$", "1s", "10x"},
	{"inside", "pkg/sensor/record", "^Benchmark", "1s", "10x"},
	{"inside", "pkg/registry", "^BenchmarkPrefetchCached$", "5x", "1x"},

	{"size", "test/binaries", "^Benchmark", "10x", "1x"},
}

// benchmarkTimeout ends one package's benchmarks.
const benchmarkTimeout = 15 * time.Minute

// goBenchmarks runs a part that consists of Go benchmarks.
func goBenchmarks(part string) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error { return r.goBenchmarks(ctx, part) }
}

// goBenchmarks builds the part's test binaries and then runs them in turns.
func (r *Run) goBenchmarks(ctx context.Context, part string) error {
	list := slices.DeleteFunc(slices.Clone(goBenchmarkList), func(b goBenchmark) bool { return b.part != part })
	list = slices.DeleteFunc(list, func(b goBenchmark) bool {
		_, err := os.Stat(filepath.Join(r.Root, b.pkg))
		if err != nil {
			r.note(b.pkg, "", "does not exist here, so it was not measured")
		}
		return err != nil
	})
	for _, b := range list {
		r.say("build %s", b.pkg)
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", r.program(b), "./"+b.pkg)
		cmd.Dir = r.Root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", b.pkg, err, out)
		}
	}
	for round := range r.Rounds {
		for i := range list {
			b := list[(round+i)%len(list)]
			r.say("round %d of %d: %s", round+1, r.Rounds, b.pkg)
			if err := r.goBenchmark(ctx, b); err != nil {
				return err
			}
		}
	}
	r.sort(part)
	return nil
}

func (r *Run) program(b goBenchmark) string {
	return filepath.Join(r.scratch, strings.ReplaceAll(b.pkg, "/", "-")+".test")
}

// goBenchmark runs one package's benchmarks once.
func (r *Run) goBenchmark(ctx context.Context, b goBenchmark) error {
	ctx, cancel := context.WithTimeout(ctx, benchmarkTimeout)
	defer cancel()
	long := b.time
	if r.Quick {
		long = b.quick
	}
	cmd := exec.CommandContext(ctx, r.program(b), "-test.run=^$", "-test.bench="+b.match, "-test.benchtime="+long, "-test.timeout="+benchmarkTimeout.String())
	cmd.Dir = filepath.Join(r.Root, b.pkg)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s%s", b.pkg, err, out, errs.String())
	}
	lines, err := parseBenchmarks(strings.NewReader(string(out)))
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("no benchmark matches %s", b.match)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.pkg, err)
	}
	for _, l := range lines {
		for _, v := range l.telling() {
			r.sample(path.Base(b.pkg)+"."+l.name, v.unit, v.value)
		}
	}
	return nil
}

// sort brings a part's results into an order that is the same in each run: the
// packages', then the names', then the units' as they were reported.
func (r *Run) sort(part string) {
	at := func(x Result) int {
		return slices.IndexFunc(goBenchmarkList, func(b goBenchmark) bool { return b.part == part && strings.HasPrefix(x.Name, path.Base(b.pkg)+".") })
	}
	begin := slices.IndexFunc(r.Results, func(x Result) bool { return x.Part == part })
	if begin < 0 {
		return
	}
	slices.SortStableFunc(r.Results[begin:], func(a, b Result) int {
		return cmp.Or(at(a)-at(b), strings.Compare(a.Name, b.Name))
	})
}

// benchmarkLine is what one benchmark reported.
type benchmarkLine struct {
	name   string // "Gate/batched"
	values []benchmarkValue
}

type benchmarkValue struct {
	value float64
	unit  string
}

// telling leaves out what would only make the tables longer: bytes, and the
// time of an operation where the benchmark has measures of its own.
func (l benchmarkLine) telling() []benchmarkValue {
	usual := []string{"ns/op", "B/op", "MB/s", "allocs/op", "bytes/alert"}
	own := slices.ContainsFunc(l.values, func(v benchmarkValue) bool { return !slices.Contains(usual, v.unit) })
	return slices.DeleteFunc(slices.Clone(l.values), func(v benchmarkValue) bool {
		return v.unit != "allocs/op" && slices.Contains(usual, v.unit) && (own || v.unit != "ns/op")
	})
}

var benchmarkName = regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?$`)

// parseBenchmarks reads what `go test -bench` prints. Lines that are no
// results are skipped; a result that can't be read is an error.
func parseBenchmarks(in io.Reader) ([]benchmarkLine, error) {
	var out []benchmarkLine
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || len(f)%2 != 0 {
			continue
		}
		m := benchmarkName.FindStringSubmatch(f[0])
		if _, times := strconv.Atoi(f[1]); m == nil || times != nil {
			continue
		}
		l := benchmarkLine{name: m[1]}
		for i := 2; i < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark result %q: %w", lines.Text(), err)
			}
			l.values = append(l.values, benchmarkValue{v, f[i+1]})
		}
		out = append(out, l)
	}
	return out, lines.Err()
}

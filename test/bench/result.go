package bench

import (
	"regexp"
	"slices"
	"strings"
)

// Result is one thing measured in one unit.
type Result struct {
	Part    string    `json:"part"`
	Name    string    `json:"name"`
	Unit    string    `json:"unit"` // "s", "cpu-s", "alerts/s", "ns/op" ...
	Median  float64   `json:"median"`
	Best    float64   `json:"best"` // the largest of a rate, else the smallest
	Samples []float64 `json:"samples"`
	Against *Ratio    `json:"against,omitempty"`
	Aim     string    `json:"aim,omitempty"`  // what the project aims at, in words
	Note    string    `json:"note,omitempty"` // how it was measured, or why it was not
}

// Ratio compares a result with another of the same run.
type Ratio struct {
	To     string  `json:"to"`
	Median float64 `json:"median"` // of the medians
	Best   float64 `json:"best"`   // of the best
}

// rate reports whether more is better.
func rate(unit string) bool { return strings.HasSuffix(unit, "/s") }

func (r *Result) add(value float64) {
	r.Samples = append(r.Samples, value)
	sorted := slices.Sorted(slices.Values(r.Samples))
	n := len(sorted)
	r.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	r.Best = sorted[0]
	if rate(r.Unit) {
		r.Best = sorted[n-1]
	}
}

// comparisons say which result stands beside which: a result whose name
// matches, with the one that base names, in the same part and unit.
var comparisons = []struct {
	name *regexp.Regexp
	base string
	unit string // "" for all
}{
	{regexp.MustCompile(`^(` + scanTotal + `|` + scanInstall + `|strace.*)$`), nativeInstall, ""},
	{regexp.MustCompile(`^(alerts\.Put|falcogate\.Gate)/.*$`), "alerts.JetStream", "alerts/s"},
	{regexp.MustCompile(`^correlator\.Join/scans=.*$`), "correlator.Join/scans=10", "cpu-µs/alert"},
	{regexp.MustCompile(`^rules\.Match/(.*)/all$`), "rules.Match/$1/indexed", "ns/op"},
}

// compare fills in Against.
func compare(results []Result) {
	for i := range results {
		r := &results[i]
		for _, c := range comparisons {
			m := c.name.FindStringSubmatchIndex(r.Name)
			if m == nil || c.unit != "" && c.unit != r.Unit {
				continue
			}
			name := string(c.name.ExpandString(nil, c.base, r.Name, m))
			at := slices.IndexFunc(results, func(b Result) bool { return b.Part == r.Part && b.Unit == r.Unit && b.Name == name })
			if at < 0 || at == i || results[at].Median == 0 || results[at].Best == 0 || len(r.Samples) == 0 {
				continue
			}
			r.Against = &Ratio{To: name, Median: r.Median / results[at].Median, Best: r.Best / results[at].Best}
		}
	}
}

// aims are what the project wants to hold on two cores, in words for the
// reader.
var aims = []struct {
	name *regexp.Regexp
	unit string
	aim  string
}{
	{regexp.MustCompile(`^` + scanTotal + `$`), "s", "at most 1.25× of npm ci, aim 1.1×"},
	{regexp.MustCompile(`^gvisor\.Start$`), "start-p50-ms", "under 250 ms"},
	{regexp.MustCompile(`^falcogate\.Gate/`), "alerts/s", "at least 10,000"},
	{regexp.MustCompile(`^correlator\.Join/`), "p99-ms", "under 10 ms"},
	{regexp.MustCompile(`^correlator\.Join/`), "cpu-µs/alert", "flat from 10 to 10,000 scans"},
	{regexp.MustCompile(`^falconer$`), "MB", "at most 90"},
	{regexp.MustCompile(`^binaries\.FirstAnswer/`), "ms/start", "at most 50 ms"},
	{regexp.MustCompile(`^function `), "MB", "at most 16 without a Kubernetes client"},
}

func aimOf(name, unit string) string {
	for _, a := range aims {
		if a.unit == unit && a.name.MatchString(name) {
			return a.aim
		}
	}
	return ""
}

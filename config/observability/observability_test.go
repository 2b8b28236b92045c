// Package observability_test holds the dashboard, the alert rules and the docs
// to the metrics that the code registers.
package observability_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/functions/runner/jobs"
	"github.com/falconer-sec/falconer/functions/sensor"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
)

const docs = "../../docs/observability.md"

// names is a Registerer that keeps the names of what is registered.
type names map[string]bool

var fqName = regexp.MustCompile(`fqName: "([a-z_]+)"`)

// Register implements prometheus.Registerer.
func (n names) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 16)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		n[fqName.FindStringSubmatch(d.String())[1]] = true
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (n names) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = n.Register(c) // never fails
	}
}

// Unregister implements prometheus.Registerer.
func (names) Unregister(prometheus.Collector) bool { return false }

// registering are the packages that make metrics, each of which registered
// below makes known.
var registering = []string{
	"functions/correlator", "functions/falcogate", "functions/gitlabhook", "functions/runner/jobs", "functions/sensor",
	"pkg/broker", "pkg/function", "pkg/registry/depot",
}

func registered(t *testing.T) names {
	t.Helper()
	all, nc := names{}, eventtest.NATS(t)
	gate, err := falcogate.New(nil, falcogate.Config{}, all)
	must(t, err)
	_, err = falcogate.NewIntake(t.Context(), nc, falcogate.IntakeConfig{Subject: "falco.>"}, gate, all)
	must(t, err)
	_, err = correlator.New(correlator.Deps{Metrics: all})
	must(t, err)
	_, err = jobs.NewMetrics(all)
	must(t, err)
	set, err := shipped.Load("")
	must(t, err)
	_, err = sensor.New(sensor.Deps{Metrics: all, Rules: set})
	must(t, err)
	_, err = depot.New(depot.Config{Metrics: all})
	must(t, err)
	_, err = function.NewMeter(all)
	must(t, err)
	_, err = broker.New(t.Context(), broker.Config{Conn: nc, Name: eventtest.Broker(), Triggers: eventtest.Topology(t, nil), Metrics: all})
	must(t, err)
	gitlabhook.Counter(all)
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryPackageIsAsked finds packages that make metrics nobody looks at here.
func TestEveryPackageIsAsked(t *testing.T) {
	makes := regexp.MustCompile(`prometheus\.New(Counter|Gauge|Histogram|Summary)`)
	found := map[string]bool{}
	for _, root := range []string{"pkg", "functions", "cmd"} {
		must(t, filepath.WalkDir(filepath.Join("../..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if makes.Match(text) {
				found[strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")] = true
			}
			return err
		}))
	}
	if diff := cmp.Diff(registering, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("packages that make metrics (-known here +found):\n%s", diff)
	}
}

// TestDocumented compares the docs' table with what is registered.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(docs)
	must(t, err)
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(falconer_[a-z_]+)").FindAllSubmatch(text, -1) {
		documented[string(m[1])] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(registered(t))), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("metrics (-in the code +in %s):\n%s", docs, diff)
	}
}

// check looks at one PromQL expression: its metrics exist, brackets match and
// counters are asked for their rate.
func check(t *testing.T, where, expr string, known names) {
	t.Helper()
	found := regexp.MustCompile(`falconer_[a-z_]+`).FindAllString(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s asks for no metric of ours: %s", where, expr)
	}
	for _, name := range found {
		base := name
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			if b, ok := strings.CutSuffix(name, end); ok && known[b] {
				base = b
			}
		}
		if !known[base] {
			t.Errorf("%s asks for %s, which does not exist", where, name)
		}
		rated := regexp.MustCompile(`(rate|increase)\(` + name + `(\{[^}]*\})?\[`).MatchString(expr)
		if strings.HasSuffix(name, "_total") && !rated && !strings.HasPrefix(expr, "absent(") {
			t.Errorf("%s does not ask for the rate of the counter %s", where, name)
		}
	}
	// An expression of functions, sums and comparisons reads like one of Go's
	// once labels, ranges and groupings are taken out.
	plain := regexp.MustCompile(`\{[^{}]*\}|\[[^\[\]]*\]|\b(by|without) \([a-z_, ]*\)`).ReplaceAllString(expr, "")
	plain = strings.NewReplacer(" and ", " && ", " or ", " || ").Replace(plain)
	if _, err := parser.ParseExprFrom(token.NewFileSet(), where, plain, 0); err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
	}
}

func TestDashboard(t *testing.T) {
	var board struct {
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
	}
	text, err := os.ReadFile("dashboard.json")
	must(t, err)
	must(t, json.Unmarshal(text, &board))
	known, ids := registered(t), map[int]bool{}
	var rows []string
	for _, p := range board.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: ID %d is taken, or it is too wide", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			check(t, p.Title, q.Expr, known)
		}
	}
	if diff := cmp.Diff([]string{"From push to verdict", "Queue", "Gate", "Sandboxes", "Dead letters", "Sensor"}, rows); diff != "" || board.UID == "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// group is a group of alert rules.
type group struct {
	Name  string
	Rules []struct {
		Alert, Expr, For    string
		Labels, Annotations map[string]string
	}
}

// TestRules checks the rules, that each has its place in the docs, and that the
// operator's copy is the same.
func TestRules(t *testing.T) {
	var plain struct{ Groups []group }
	var wrapped struct {
		Kind string
		Spec struct{ Groups []group }
	}
	for name, to := range map[string]any{"rules.yaml": &plain, "prometheusrule.yaml": &wrapped} {
		text, err := os.ReadFile(name)
		must(t, err)
		must(t, yaml.Unmarshal(text, to))
	}
	if diff := cmp.Diff(plain.Groups, wrapped.Spec.Groups); diff != "" || wrapped.Kind != "PrometheusRule" {
		t.Errorf("rules.yaml and prometheusrule.yaml differ:\n%s", diff)
	}
	text, err := os.ReadFile(docs)
	must(t, err)
	known := registered(t)
	for _, g := range plain.Groups {
		for _, r := range g.Rules {
			check(t, r.Alert, r.Expr, known)
			_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "docs/observability.md#")
			if !strings.Contains(string(text), "\n### "+r.Alert+"\n") || anchor != strings.ToLower(r.Alert) {
				t.Errorf("%s has no runbook, or does not point at it", r.Alert)
			}
			if r.Annotations["summary"] == "" || (r.Labels["severity"] != "warning" && r.Labels["severity"] != "critical") {
				t.Errorf("%s has no summary or severity", r.Alert)
			}
		}
	}
	if len(plain.Groups) == 0 || len(plain.Groups[0].Rules) < 10 {
		t.Error("rules are missing")
	}
}

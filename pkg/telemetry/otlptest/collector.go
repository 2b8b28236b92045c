// Package otlptest is an OpenTelemetry collector for tests: it takes traces and
// metrics by OTLP over HTTP, decodes them, and answers questions about them.
package otlptest

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxBody bounds a request.
const maxBody = 16 << 20

// Span is a span that arrived.
type Span struct {
	Trace, ID, Parent string // hexadecimal; Parent is "" of a root
	Name              string
	Service           string            // service.name of who sent it
	Attributes        map[string]string // as text
	Links             []string          // span IDs
	Error             string            // "" unless the status is an error
	Took              time.Duration
}

// Point is the last value of a series that arrived.
type Point struct {
	Value  float64 // a histogram's count
	Points int     // how many arrived
	First  float64 // the value of the first
}

// Collector is the collector, an http.Handler. The zero value is ready to use,
// New makes one that listens. It is safe for concurrent use.
type Collector struct {
	URL string // OTEL_EXPORTER_OTLP_ENDPOINT

	mu       sync.Mutex
	status   int
	spans    []Span
	series   map[string]Point
	headers  []http.Header
	problems []string
}

// New starts a collector that ends with the test, which fails if anything
// arrived that is no OTLP.
func New(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	srv := httptest.NewServer(c)
	c.URL = srv.URL
	t.Cleanup(func() {
		srv.Close()
		for _, p := range c.problems {
			t.Error("collector: " + p)
		}
	})
	return c
}

// Env is an environment that names the collector.
func (c *Collector) Env(name string) string {
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		return c.URL
	}
	return ""
}

// Fail makes the collector answer with a status and take nothing; 0 ends that.
func (c *Collector) Fail(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// ServeHTTP implements http.Handler.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header)
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	if err == nil {
		err = c.take(r, body)
	}
	if err != nil {
		c.problems = append(c.problems, fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err))
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (c *Collector) take(r *http.Request, body []byte) error {
	if c.series == nil {
		c.series = map[string]Point{}
	}
	if got := r.Header.Get("Content-Type"); r.Method != http.MethodPost || got != "application/x-protobuf" {
		return fmt.Errorf("content type %q", got)
	}
	switch r.URL.Path {
	case "/v1/traces":
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil {
			return err
		}
		c.takeSpans(&data)
		return nil
	case "/v1/metrics":
		var data metricspb.MetricsData
		if err := proto.Unmarshal(body, &data); err != nil {
			return err
		}
		c.takeMetrics(&data)
		return nil
	default:
		return fmt.Errorf("no such path")
	}
}

func (c *Collector) takeSpans(data *tracepb.TracesData) {
	for _, rs := range data.GetResourceSpans() {
		service := attributes(rs.GetResource().GetAttributes())["service.name"]
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				span := Span{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Service: service, Attributes: attributes(s.GetAttributes()),
					Took: time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()),
				}
				if st := s.GetStatus(); st.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
					span.Error = st.GetMessage()
				}
				for _, l := range s.GetLinks() {
					span.Links = append(span.Links, hex.EncodeToString(l.GetSpanId()))
				}
				c.spans = append(c.spans, span)
			}
		}
	}
}

func (c *Collector) takeMetrics(data *metricspb.MetricsData) {
	add := func(name string, labels []*commonpb.KeyValue, v float64) {
		key := seriesKey(name, attributes(labels))
		p, ok := c.series[key]
		if !ok {
			p.First = v
		}
		p.Value, p.Points = v, p.Points+1
		c.series[key] = p
	}
	for _, rm := range data.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				for _, p := range append(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()...) {
					add(m.GetName(), p.GetAttributes(), p.GetAsDouble())
				}
				for _, p := range m.GetHistogram().GetDataPoints() {
					if len(p.GetBucketCounts()) != len(p.GetExplicitBounds())+1 {
						c.problems = append(c.problems, m.GetName()+": buckets and bounds don't fit")
					}
					add(m.GetName(), p.GetAttributes(), float64(p.GetCount()))
				}
			}
		}
	}
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[kv.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			out[kv.GetKey()] = fmt.Sprint(v.BoolValue)
		default:
			out[kv.GetKey()] = fmt.Sprint(v)
		}
	}
	return out
}

// seriesKey writes a series as Prometheus does.
func seriesKey(name string, labels map[string]string) string {
	var list []string
	for k, v := range labels {
		list = append(list, fmt.Sprintf("%s=%q", k, v))
	}
	slices.Sort(list)
	if len(list) == 0 {
		return name
	}
	return name + "{" + strings.Join(list, ",") + "}"
}

// Spans returns what arrived, in that order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Series returns a series that is written as Prometheus does, its labels
// sorted.
func (c *Collector) Series(key string) (Point, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.series[key]
	return p, ok
}

// Headers returns the headers of every request that came.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}

// Tree checks that spans are one trace with one root and no parent missing, and
// returns it as text: a line a span, indented below its parent, siblings in
// order of their names.
func Tree(spans []Span) (string, error) {
	children, known := map[string][]Span{}, map[string]bool{}
	for _, s := range spans {
		if s.Trace != spans[0].Trace {
			return "", fmt.Errorf("span %q is in trace %s, %q in %s", s.Name, s.Trace, spans[0].Name, spans[0].Trace)
		}
		if known[s.ID] {
			return "", fmt.Errorf("two spans have the ID %s", s.ID)
		}
		known[s.ID] = true
		children[s.Parent] = append(children[s.Parent], s)
	}
	for _, s := range spans {
		if s.Parent != "" && !known[s.Parent] {
			return "", fmt.Errorf("the parent %s of span %q is not there", s.Parent, s.Name)
		}
	}
	if n := len(children[""]); n != 1 {
		return "", fmt.Errorf("%d roots", n)
	}
	var b strings.Builder
	var write func(parent string, depth int)
	write = func(parent string, depth int) {
		list := children[parent]
		slices.SortStableFunc(list, func(a, b Span) int { return strings.Compare(a.Name, b.Name) })
		for _, s := range list {
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), s.Name)
			write(s.ID, depth+1)
		}
	}
	write("", 0)
	return b.String(), nil
}

// Paths returns for each span the names on the way to it from its root, joined
// by " > ".
func Paths(spans []Span) (list []string) {
	byID := map[string]Span{}
	for _, s := range spans {
		byID[s.ID] = s
	}
	for _, s := range spans {
		way := s.Name
		for depth := 0; s.Parent != "" && depth < len(spans); depth++ {
			s = byID[s.Parent]
			way = s.Name + " > " + way
		}
		list = append(list, way)
	}
	return list
}

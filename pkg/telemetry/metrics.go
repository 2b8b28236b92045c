package telemetry

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// Prefix is what the names of Falconer's metrics start with. Others of a
// process (Go's, the process's) are there to be scraped, not pushed: each pod
// would add dozens of series that live for a minute.
const Prefix = "falconer_"

// pusher sends the metrics' values every now and then.
//
// The first time a series is sent, a zero goes before it, dated when the series
// was not there yet. Otherwise Prometheus, which sees only differences, would
// miss what a short-lived function counted in its one push.
type pusher struct {
	from     prometheus.Gatherer
	resource *resourcepb.Resource
	to       sender
	now      func() time.Time
	start    time.Time

	mu   sync.Mutex
	last time.Time       // of the push before
	seen map[string]bool // series that were sent
}

func newPusher(from prometheus.Gatherer, res *resource.Resource, to sender, now func() time.Time) *pusher {
	p := &pusher{from: from, resource: &resourcepb.Resource{}, to: to, now: now, start: now(), seen: map[string]bool{}}
	for _, a := range res.Attributes() {
		p.resource.Attributes = append(p.resource.Attributes, text(string(a.Key), a.Value.AsString()))
	}
	p.last = p.start
	return p
}

func (p *pusher) run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = p.push(ctx) // logged; the next push has the same and more
		}
	}
}

// push sends the present values.
func (p *pusher) push(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	families, err := p.from.Gather()
	if err != nil {
		return err
	}
	now := p.now()
	r := round{pusher: p, at: nano(now)}
	for _, f := range families {
		if m := r.metric(f); m != nil {
			r.metrics = append(r.metrics, m)
		}
	}
	if len(r.metrics) == 0 {
		return nil
	}
	err = p.to.send(ctx, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource:     p.resource,
		ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: &commonpb.InstrumentationScope{Name: Scope}, Metrics: r.metrics}},
	}}})
	if err == nil {
		p.last = now
		for _, key := range r.fresh {
			p.seen[key] = true
		}
	}
	return err
}

// round is one push.
type round struct {
	*pusher
	at      uint64
	metrics []*metricspb.Metric
	fresh   []string // series sent for the first time
}

// metric translates a family; nil if it is not ours or of a kind we don't use.
func (r *round) metric(f *dto.MetricFamily) *metricspb.Metric {
	if !strings.HasPrefix(f.GetName(), Prefix) {
		return nil
	}
	m := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp()}
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		sum := &metricspb.Sum{AggregationTemporality: cumulative, IsMonotonic: true}
		for _, s := range f.GetMetric() {
			if r.first(f, s) {
				sum.DataPoints = append(sum.DataPoints, r.number(s, 0, nano(r.last)))
			}
			sum.DataPoints = append(sum.DataPoints, r.number(s, s.GetCounter().GetValue(), r.at))
		}
		m.Data = &metricspb.Metric_Sum{Sum: sum}
	case dto.MetricType_GAUGE:
		gauge := &metricspb.Gauge{}
		for _, s := range f.GetMetric() {
			gauge.DataPoints = append(gauge.DataPoints, r.number(s, s.GetGauge().GetValue(), r.at))
		}
		m.Data = &metricspb.Metric_Gauge{Gauge: gauge}
	case dto.MetricType_HISTOGRAM:
		h := &metricspb.Histogram{AggregationTemporality: cumulative}
		for _, s := range f.GetMetric() {
			if r.first(f, s) {
				h.DataPoints = append(h.DataPoints, r.zero(s))
			}
			h.DataPoints = append(h.DataPoints, r.histogram(s))
		}
		m.Data = &metricspb.Metric_Histogram{Histogram: h}
	default:
		return nil
	}
	return m
}

// first reports whether a series was never sent.
func (r *round) first(f *dto.MetricFamily, s *dto.Metric) bool {
	var key strings.Builder
	key.WriteString(f.GetName())
	for _, l := range s.GetLabel() {
		key.WriteString("\x00" + l.GetName() + "\x00" + l.GetValue())
	}
	if r.seen[key.String()] {
		return false
	}
	r.fresh = append(r.fresh, key.String())
	return true
}

func (r *round) number(s *dto.Metric, v float64, at uint64) *metricspb.NumberDataPoint {
	return &metricspb.NumberDataPoint{Attributes: labels(s), StartTimeUnixNano: nano(r.start), TimeUnixNano: at,
		Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: v}}
}

// histogram translates Prometheus' buckets, each of which contains those below
// it, to OpenTelemetry's, which don't.
func (r *round) histogram(s *dto.Metric) *metricspb.HistogramDataPoint {
	h := s.GetHistogram()
	sum := h.GetSampleSum()
	p := &metricspb.HistogramDataPoint{Attributes: labels(s), StartTimeUnixNano: nano(r.start), TimeUnixNano: r.at, Count: h.GetSampleCount(), Sum: &sum}
	below := uint64(0)
	for _, b := range h.GetBucket() {
		p.ExplicitBounds = append(p.ExplicitBounds, b.GetUpperBound())
		p.BucketCounts = append(p.BucketCounts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	p.BucketCounts = append(p.BucketCounts, h.GetSampleCount()-below)
	return p
}

// zero is a histogram before its first observation.
func (r *round) zero(s *dto.Metric) *metricspb.HistogramDataPoint {
	p := r.histogram(s)
	none := 0.0
	p.TimeUnixNano, p.Count, p.Sum, p.BucketCounts = nano(r.last), 0, &none, make([]uint64, len(p.BucketCounts))
	return p
}

func labels(s *dto.Metric) []*commonpb.KeyValue {
	var list []*commonpb.KeyValue
	for _, l := range s.GetLabel() {
		list = append(list, text(l.GetName(), l.GetValue()))
	}
	return list
}

func text(name, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func nano(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }

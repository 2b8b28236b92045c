package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ce "github.com/cloudevents/sdk-go/v2/event"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/attributes"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
)

// filter evaluates a Trigger's spec.filters, or its older spec.filter.
//
// Attribute comparison and CESQL are Knative's. The combinators all, any and
// not follow Knative's three results but are ours: the library's reorder their
// operands in a background goroutine, which races with Filter and outlives the
// trigger. A test holds both against each other.
type filter interface {
	eval(ctx context.Context, e ce.Event) eventfilter.FilterResult
}

type root struct{ filter }

// passes is Knative's reading of the outcome: only a failed filter stops an
// event.
func (r root) passes(e ce.Event) bool {
	return r.eval(context.Background(), e) != eventfilter.FailFilter
}

type leaf struct{ eventfilter.Filter }

func (l leaf) eval(ctx context.Context, e ce.Event) eventfilter.FilterResult {
	return l.Filter.Filter(ctx, e)
}

type all []filter

func (fs all) eval(ctx context.Context, e ce.Event) eventfilter.FilterResult {
	result := eventfilter.NoFilter
	for _, f := range fs {
		if result = f.eval(ctx, e); result == eventfilter.FailFilter {
			break
		}
	}
	return result
}

type anyOf []filter

func (fs anyOf) eval(ctx context.Context, e ce.Event) eventfilter.FilterResult {
	result := eventfilter.NoFilter
	for _, f := range fs {
		if result = f.eval(ctx, e); result == eventfilter.PassFilter {
			break
		}
	}
	return result
}

type not struct{ filter }

func (n not) eval(ctx context.Context, e ce.Event) eventfilter.FilterResult {
	switch n.filter.eval(ctx, e) {
	case eventfilter.FailFilter:
		return eventfilter.PassFilter
	case eventfilter.PassFilter:
		return eventfilter.FailFilter
	}
	return eventfilter.NoFilter
}

// newFilter compiles a Trigger's filter and tells which event types it is
// limited to (nil: any).
func newFilter(spec eventingv1.TriggerSpec) (root, []string, error) {
	if len(spec.Filters) == 0 {
		if spec.Filter == nil {
			return root{leaf{subscriptionsapi.NewNoFilter()}}, nil, nil
		}
		attrs := spec.Filter.Attributes
		var types []string
		if t := attrs["type"]; t != eventingv1.TriggerAnyFilter {
			types = []string{t}
		}
		return root{leaf{attributes.NewAttributesFilter(attrs)}}, types, nil
	}
	f, err := compileAll(spec.Filters)
	if err != nil {
		return root{}, nil, err
	}
	r := root{all(f)}
	if err := r.try(); err != nil {
		return root{}, nil, err
	}
	return r, allTypes(spec.Filters), nil
}

func compileAll(specs []eventingv1.SubscriptionsAPIFilter) ([]filter, error) {
	fs := make([]filter, 0, len(specs))
	for i, s := range specs {
		f, err := compile(s)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		fs = append(fs, f)
	}
	return fs, nil
}

// errEmpty: Knative skips a filter without a dialect, so that the trigger
// would match more than its author meant.
var errEmpty = errors.New("a filter without a dialect would be skipped")

func compile(s eventingv1.SubscriptionsAPIFilter) (filter, error) {
	switch {
	case len(s.Exact) > 0:
		return wrap(subscriptionsapi.NewExactFilter(s.Exact))
	case len(s.Prefix) > 0:
		return wrap(subscriptionsapi.NewPrefixFilter(s.Prefix))
	case len(s.Suffix) > 0:
		return wrap(subscriptionsapi.NewSuffixFilter(s.Suffix))
	case len(s.All) > 0:
		fs, err := compileAll(s.All)
		return all(fs), err
	case len(s.Any) > 0:
		fs, err := compileAll(s.Any)
		return anyOf(fs), err
	case s.Not != nil:
		f, err := compile(*s.Not)
		return not{f}, err
	case s.CESQL != "":
		return compileCESQL(s.CESQL)
	}
	return nil, errEmpty
}

func wrap(f eventfilter.Filter, err error) (filter, error) { return leaf{f}, err }

// compileCESQL parses an expression; the parser is known to panic on some.
func compileCESQL(expr string) (f filter, err error) {
	defer func() {
		if v := recover(); v != nil {
			f, err = nil, fmt.Errorf("cesql %q: parser panicked: %v", expr, v)
		}
	}()
	f, err = wrap(subscriptionsapi.NewCESQLFilter(expr))
	if err != nil {
		return nil, err
	}
	return f, root{f}.try()
}

// try evaluates the filter on sample events: a CESQL expression whose value
// isn't a boolean panics at the first event, not at load.
func (r root) try() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("not a boolean expression: %v", v)
		}
	}()
	for _, e := range samples() {
		r.passes(e)
	}
	return nil
}

func samples() []ce.Event {
	bare := ce.New()
	bare.SetID("1")
	bare.SetSource("/sample")
	bare.SetType("sample")
	full := bare.Clone()
	full.SetSubject("subject")
	full.SetDataSchema("https://example.com/schema.json")
	full.SetDataContentType(ce.ApplicationJSON)
	full.SetExtension("scanid", "0")
	full.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return []ce.Event{bare, full}
}

// allTypes intersects what each filter is limited to.
func allTypes(specs []eventingv1.SubscriptionsAPIFilter) []string {
	var types []string
	limited := false
	for _, s := range specs {
		ts := typesOf(s)
		switch {
		case ts == nil:
		case !limited:
			types, limited = ts, true
		default:
			types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return !slices.Contains(ts, t) })
		}
	}
	if len(types) == 0 {
		return nil // contradictory or unlimited: let Match decide
	}
	return types
}

func typesOf(s eventingv1.SubscriptionsAPIFilter) []string {
	switch {
	case s.Exact["type"] != "":
		return []string{s.Exact["type"]}
	case len(s.All) > 0:
		return allTypes(s.All)
	case len(s.Any) > 0:
		var types []string
		for _, a := range s.Any {
			ts := typesOf(a)
			if ts == nil {
				return nil
			}
			types = append(types, ts...)
		}
		slices.Sort(types)
		return slices.Compact(types)
	}
	return nil
}

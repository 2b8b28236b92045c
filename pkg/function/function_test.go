package function_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

func sample(typ string) ce.Event {
	e := ce.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(typ)
	return e
}

func TestChainOrder(t *testing.T) {
	var order []string
	mark := func(name string) function.Decorator {
		return func(h function.Handler) function.Handler {
			return function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
				order = append(order, name)
				return h.Handle(ctx, e)
			})
		}
	}
	h := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { return nil, nil })
	if _, err := function.Chain(h, mark("outer"), mark("inner")).Handle(t.Context(), sample("t")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "outer inner" {
		t.Errorf("order %q", got)
	}
}

func TestRecover(t *testing.T) {
	h := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { panic("oh") })
	_, err := function.Recover()(h).Handle(t.Context(), sample("t"))
	var p *function.PanicError
	if !errors.As(err, &p) || p.Value != "oh" || !strings.Contains(string(p.Stack), "TestRecover") || !fault.Retryable(err) {
		t.Errorf("got %v", err)
	}
}

func TestTimeout(t *testing.T) {
	h := function.HandlerFunc(func(ctx context.Context, _ ce.Event) (*ce.Event, error) { <-ctx.Done(); return nil, ctx.Err() })
	if _, err := function.Timeout(time.Millisecond)(h).Handle(t.Context(), sample("t")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTrace(t *testing.T) {
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	minted := function.Traceparent(sample("t"))
	for given, want := range map[string]string{valid: valid, "": minted, "nonsense": minted} {
		e := sample("t")
		if given != "" {
			e.SetExtension(event.ExtTraceparent, given)
		}
		var seen string
		h := function.HandlerFunc(func(_ context.Context, e ce.Event) (*ce.Event, error) {
			seen = event.Extension(e, event.ExtTraceparent)
			reply := sample("reply")
			return &reply, nil
		})
		reply, err := function.Trace("f", nil)(h).Handle(t.Context(), e)
		if err != nil || seen != want || event.Extension(*reply, event.ExtTraceparent) != want {
			t.Errorf("given %q: handler saw %q, reply %v, %v; want %q", given, seen, reply, err, want)
		}
		if event.Extension(e, event.ExtTraceparent) != given {
			t.Error("the caller's event was changed")
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m, err := function.NewMeter(reg, "known")
	if err != nil {
		t.Fatal(err)
	}
	h := m.Metrics("f")(function.HandlerFunc(func(_ context.Context, e ce.Event) (*ce.Event, error) {
		if e.Type() == "known" {
			return nil, nil
		}
		return nil, fault.Errorf(fault.Invalid, "no")
	}))
	for _, typ := range []string{"known", "x", "y"} {
		_, _ = h.Handle(t.Context(), sample(typ))
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{
		`falconer_function_failed_total{function="f",kind="invalid",type="other"} 2`,
		`falconer_function_handled_total{function="f",type="known"} 1`,
		`falconer_function_received_total{function="f",type="known"} 1`,
		`falconer_function_received_total{function="f",type="other"} 2`,
		`falconer_function_duration_seconds_count{function="f",type="other"} 2`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, w.Body)
		}
	}
	if _, err := function.NewMeter(reg); fault.KindOf(err) != fault.Permanent {
		t.Errorf("registering twice: %v", err)
	}
}

func TestTraceparentForms(t *testing.T) {
	const v0 = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for given, want := range map[string]string{
		v0:                      v0,
		v0[:53] + "03":          v0, // flags that are not known
		"01" + v0[2:] + "-more": v0, // a version to come
		v0 + "-more":            "",
		"ff" + v0[2:]:           "",
		strings.ToUpper(v0):     "",
		v0[:54]:                 "",
		"00-" + strings.Repeat("0", 32) + v0[35:]:   "",
		v0[:36] + strings.Repeat("0", 16) + v0[52:]: "",
		"zz" + v0[2:]:              "",
		"":                         "",
		strings.Repeat("-", 1<<16): "",
	} {
		sc := function.ParseTraceparent(given)
		if got := function.TraceparentOf(function.WithTraceparent(t.Context(), given)); got != want || sc.IsValid() != (want != "") {
			t.Errorf("%.80q became %q, want %q", given, got, want)
		}
	}
}

// TestTraceEmitter hands the context's trace on even where nothing is recorded.
func TestTraceEmitter(t *testing.T) {
	const own, around = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
	for name, c := range map[string]struct{ event, ctx, want string }{
		"neither": {"", "", ""}, "event": {own, "", own}, "context": {"", around, around}, "both": {own, around, own},
	} {
		e := sample("t")
		if c.event != "" {
			e.SetExtension(event.ExtTraceparent, c.event)
		}
		var got string
		emit := function.TraceEmitter(nil, function.EmitterFunc(func(_ context.Context, e ce.Event) error {
			got = event.Extension(e, event.ExtTraceparent)
			return nil
		}))
		if err := emit.Emit(function.WithTraceparent(t.Context(), c.ctx), e); err != nil || got != c.want {
			t.Errorf("%s: emitted with %q, %v; want %q", name, got, err, c.want)
		}
	}
}

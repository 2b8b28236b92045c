package function

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Names of spans' attributes: CloudEvents' are OpenTelemetry's own.
const (
	AttrFunction = "faas.name"
	AttrType     = "cloudevents.event_type"
	AttrID       = "cloudevents.event_id"
	AttrSource   = "cloudevents.event_source"
	AttrScanID   = "falconer.scan_id"
	AttrOutcome  = "falconer.outcome" // handled, retried or rejected
)

// Trace sees to it that a handler's event carries a W3C traceparent, and that
// its reply carries the same one. With a tracer that records, that is a span
// of its own for the event, below the one that the event named. Otherwise a
// valid traceparent is kept; a missing or malformed one is derived from the
// event's source and ID, so that a repeated delivery belongs to the same trace.
//
// The handler's context carries the span: what is emitted with it belongs to
// the trace too (see TraceEmitter). A nil tracer records nothing.
func Trace(name string, tracer trace.Tracer) Decorator {
	tracer = orNone(tracer)
	return func(h Handler) Handler {
		return HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
			parent := ParseTraceparent(event.Extension(e, event.ExtTraceparent))
			ctx, span := tracer.Start(trace.ContextWithSpanContext(ctx, parent), name+" "+short(e.Type()),
				trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes(e)...), trace.WithAttributes(attribute.String(AttrFunction, name)))
			defer span.End()
			e = e.Clone()
			if !span.SpanContext().IsValid() {
				e.SetExtension(event.ExtTraceparent, Traceparent(e))
				ctx = trace.ContextWithSpanContext(ctx, ParseTraceparent(Traceparent(e)))
			} else {
				e.SetExtension(event.ExtTraceparent, FormatTraceparent(span.SpanContext()))
			}
			reply, err := h.Handle(ctx, e)
			if reply != nil {
				event.Caused(e, reply)
			}
			end(span, err)
			return reply, err
		})
	}
}

// TraceEmitter gives each event that is emitted a span, which the event then
// names as its traceparent. Its parent is what the event names already, else
// the span in the context; where both are there and of two traces, the latter
// is linked. Without either it starts a trace. A nil tracer records nothing,
// but the context's traceparent is handed on.
func TraceEmitter(tracer trace.Tracer, to Emitter) Emitter {
	tracer = orNone(tracer)
	return EmitterFunc(func(ctx context.Context, e ce.Event) error {
		around := trace.SpanContextFromContext(ctx)
		parent := ParseTraceparent(event.Extension(e, event.ExtTraceparent))
		if !parent.IsValid() {
			parent = around
		}
		opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes(e)...)}
		if around.IsValid() && around.TraceID() != parent.TraceID() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: around}))
		}
		ctx, span := tracer.Start(trace.ContextWithSpanContext(ctx, parent), "send "+short(e.Type()), opts...)
		defer span.End()
		if span.SpanContext().IsValid() {
			e = e.Clone()
			e.SetExtension(event.ExtTraceparent, FormatTraceparent(span.SpanContext()))
		}
		err := to.Emit(ctx, e)
		end(span, err)
		return err
	})
}

// TraceRequest gives each HTTP request that may change something (no GET) a
// span of its own, below that of its traceparent header if it has one: what the
// handler emits belongs to it. A nil tracer records nothing.
func TraceRequest(name string, tracer trace.Tracer, next http.Handler) http.Handler {
	tracer = orNone(tracer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := tracer.Start(WithTraceparent(r.Context(), r.Header.Get("Traceparent")), name+" "+method(r.Method),
			trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String(AttrFunction, name), attribute.String("url.path", printable(r.URL.Path))))
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// method is a request's, if it is one of the few that there are.
func method(s string) string {
	switch s {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return s
	}
	return "_OTHER"
}

// WithTraceparent returns a context that carries a W3C traceparent, as if its
// span were running. A malformed one changes nothing.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	if sc := ParseTraceparent(traceparent); sc.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// TraceparentOf returns the traceparent of the context's span, "" if there is
// none.
func TraceparentOf(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		return FormatTraceparent(sc)
	}
	return ""
}

// Traceparent derives a W3C traceparent (version 00, sampled) from an event's
// identity.
func Traceparent(e ce.Event) string {
	sum := sha256.Sum256([]byte(e.Source() + "\x00" + e.ID()))
	return "00-" + hex.EncodeToString(sum[:16]) + "-" + hex.EncodeToString(sum[16:24]) + "-01"
}

// FormatTraceparent writes a W3C traceparent, version 00.
func FormatTraceparent(sc trace.SpanContext) string {
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + (sc.TraceFlags() & trace.FlagsSampled).String()
}

// ParseTraceparent reads a W3C traceparent. It returns an invalid SpanContext
// for what is none. Of a version to come it reads what version 00 has.
func ParseTraceparent(s string) trace.SpanContext {
	none := trace.SpanContext{}
	if len(s) < 55 || len(s) > 512 || s[2] != '-' || s[35] != '-' || s[52] != '-' || strings.ToLower(s) != s {
		return none
	}
	version, err := hex.DecodeString(s[:2])
	if err != nil || version[0] == 0xff || version[0] == 0 && len(s) != 55 || len(s) > 55 && s[55] != '-' {
		return none
	}
	id, err1 := trace.TraceIDFromHex(s[3:35])
	span, err2 := trace.SpanIDFromHex(s[36:52])
	flags, err3 := hex.DecodeString(s[53:55])
	if err1 != nil || err2 != nil || err3 != nil {
		return none
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, Remote: true})
}

func orNone(t trace.Tracer) trace.Tracer {
	if t == nil {
		return noop.NewTracerProvider().Tracer("")
	}
	return t
}

// end says what became of an event.
func end(span trace.Span, err error) {
	outcome := "handled"
	switch {
	case err == nil:
	case fault.Retryable(err):
		outcome = "retried"
	default:
		outcome = "rejected"
	}
	span.SetAttributes(attribute.String(AttrOutcome, outcome))
	if err != nil {
		span.SetStatus(codes.Error, printable(err.Error()))
	}
}

// attributes of an event that anybody may have sent.
func attributes(e ce.Event) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.String(AttrType, printable(e.Type())), attribute.String(AttrID, printable(e.ID())), attribute.String(AttrSource, printable(e.Source())),
	}
	if id := event.Extension(e, event.ExtScanID); id != "" {
		list = append(list, attribute.String(AttrScanID, printable(id)))
	}
	return list
}

// short is an event's type as a part of a span's name: without what all of ours
// have in common.
func short(typ string) string {
	typ = strings.TrimPrefix(typ, "dev.falconer.")
	if rest, ok := strings.CutSuffix(typ, ".v1"); ok {
		typ = rest
	}
	return printable(typ)
}

// maxText bounds a text in a span.
const maxText = 256

// printable cuts a text: OTLP refuses what is not UTF-8.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Package serve is the HTTP side of every function: it receives CloudEvents,
// answers as Knative expects, reports health and metrics, and drains.
//
// Guarantees: a request is bounded in headers, body and time before anything
// looks at it; only valid CloudEvents 1.0 in JSON or binary mode get through;
// an answer is 202 with an empty body, a CloudEvent, or an error with one line
// of reason whose status follows the error's fault.Kind and nothing else. A
// panic in a handler is a 503, not a lost connection. A 2xx never carries a
// body that isn't a CloudEvent, because Knative would deliver again.
package serve

import (
	"log/slog"
	"net/http"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Options adjust Handler and Ingress. The zero value is fine.
type Options struct {
	Limits Limits
	Log    *slog.Logger // failures; nil discards them
}

func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// Handler serves one function: POST of one event in binary or structured mode.
// The function's context ends with the request.
func Handler(h function.Handler, o Options) http.Handler {
	return &receiver{handler: function.Recover()(h), limits: o.Limits.withDefaults(), log: o.log()}
}

type receiver struct {
	handler function.Handler
	limits  Limits
	log     *slog.Logger
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, problem{Error: "events are sent with POST"})
		return
	}
	events, m, err := decode(r, s.limits)
	if err == nil && m == batch {
		err = fault.Errorf(fault.Invalid, "serve: a function takes one event at a time, send batches to the broker")
	}
	if err != nil {
		s.log.Warn("event refused", "error", err, "remote", r.RemoteAddr)
		Refuse(w, err)
		return
	}
	e := events[0]
	reply, err := s.handler.Handle(r.Context(), e)
	var body []byte
	if err == nil && reply != nil {
		body, err = encodeReply(*reply)
	}
	if err != nil {
		s.log.Warn("event failed", "type", e.Type(), "id", e.ID(), "scan_id", event.Extension(e, event.ExtScanID), "kind", fault.KindOf(err).String(), "error", err)
		Refuse(w, err)
		return
	}
	if reply == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", ce.ApplicationCloudEventsJSON)
	_, _ = w.Write(body) // the broker went away: it delivers again
}

// encodeReply writes a reply in structured mode: JSON survives what a header
// would not.
func encodeReply(e ce.Event) ([]byte, error) {
	if err := event.Check(e); err != nil {
		return nil, fault.New("serve: reply", fault.Permanent, err)
	}
	body, err := event.Encode(e)
	return body, fault.New("serve: reply", fault.Permanent, err)
}

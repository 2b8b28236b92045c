package serve

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Ingress serves a broker's address as Knative does: POST /NAMESPACE/BROKER
// with an event in binary or structured mode, or a batch. It answers 202 once
// every event is durably stored, 404 for a broker that isn't in brokers (keyed
// "namespace/name").
//
// A batch with an invalid event is refused as a whole. If storing fails in the
// middle of a batch, the answer is an error that lists what became of each
// event; sending the whole batch again is safe, because the broker recognises
// the events that it has.
func Ingress(brokers map[string]function.Emitter, o Options) http.Handler {
	return &ingress{brokers: brokers, limits: o.Limits.withDefaults(), log: o.log()}
}

type ingress struct {
	brokers map[string]function.Emitter
	limits  Limits
	log     *slog.Logger
}

func (s *ingress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions: // the CloudEvents webhook handshake
		w.Header().Set("Allow", "POST, OPTIONS")
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.Header().Set("WebHook-Allowed-Rate", "*")
		return
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		refuse(w, http.StatusMethodNotAllowed, problem{Error: "events are sent with POST"})
		return
	}
	broker, ok := s.brokers[strings.Trim(r.URL.Path, "/")]
	if !ok {
		refuse(w, http.StatusNotFound, problem{Error: "no such broker"})
		return
	}
	events, _, err := decode(r, s.limits)
	if err != nil {
		s.log.Warn("event refused at the broker", "error", err, "remote", r.RemoteAddr)
		Refuse(w, err)
		return
	}
	status, p := emitAll(r.Context(), broker, events)
	if status != http.StatusAccepted {
		s.log.Warn("event not accepted by the broker", "error", p.Error, "events", len(events))
		refuse(w, status, p)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// emitAll emits events in order and stops at the first that fails. The
// remaining ones are reported with status 0: not tried.
func emitAll(ctx context.Context, broker function.Emitter, events []ce.Event) (int, problem) {
	outcomes := make([]outcome, len(events))
	for i, e := range events {
		outcomes[i] = outcome{ID: e.ID(), Source: e.Source()}
	}
	for i, e := range events {
		err := broker.Emit(ctx, e)
		outcomes[i].Status = fault.Status(err)
		if err == nil {
			continue
		}
		outcomes[i].Error = reason(err)
		p := problem{Error: reason(err)}
		if len(events) > 1 {
			p.Events = outcomes
		}
		return fault.Status(err), p
	}
	return http.StatusAccepted, problem{}
}

package gitlabhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// MaxBody is the largest webhook that is read, in bytes. GitLab's own limit is
// 25 MB.
const MaxBody = 25 << 20

// readTimeout bounds how long a sender may take over one webhook.
const readTimeout = 30 * time.Second

// Outcome says what became of a webhook, for counters.
type Outcome string

// What can become of a webhook.
const (
	Accepted     Outcome = "accepted"
	Ignored      Outcome = "ignored"
	Unauthorized Outcome = "unauthorized"
	Malformed    Outcome = "malformed"
	Failed       Outcome = "failed" // not durable: GitLab is told to send again
)

// Config is what the HTTP side needs.
type Config struct {
	Tokens  []string // accepted X-Gitlab-Token values; several, so that one can be replaced without a gap. None: every webhook is refused
	Emitter function.Emitter
	Now     func() time.Time
	Log     *slog.Logger
	Count   func(Outcome) // may be nil
}

// Handler returns the HTTP side of the function, for POST /gitlab/webhook.
//
// Answers: 200 and {"status":"accepted"} once the push's event is durable; 202
// for what is ignored (with the reason where it is a push); 401 without a
// valid token; 400 for a body that is not what GitLab sends; 413 for one
// larger than MaxBody; 503 when the event could not be made durable.
func Handler(c Config) http.Handler {
	h := &handler{Config: c}
	for _, t := range c.Tokens {
		if t != "" {
			h.sums = append(h.sums, sha256.Sum256([]byte(t)))
		}
	}
	if h.Count == nil {
		h.Count = func(Outcome) {}
	}
	return h
}

type handler struct {
	Config
	sums [][sha256.Size]byte // of the tokens: equal lengths are compared in equal time
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, reply{Error: "webhooks are sent with POST"})
		return
	}
	if !h.authorized(r) {
		h.Count(Unauthorized)
		answer(w, http.StatusUnauthorized, reply{Error: "unauthorized"})
		return
	}
	e, err := h.receive(w, r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	out, ignored, err := translate(e)
	switch {
	case err != nil:
		h.refuse(w, r, err)
	case out == nil:
		h.ignore(w, r, ignored)
	default:
		h.accept(w, r, *out)
	}
}

// authorized compares the request's token with every configured one.
func (h *handler) authorized(r *http.Request) bool {
	if len(h.sums) == 0 {
		h.Log.Error("webhook refused: no GitLab token is configured", "remote", r.RemoteAddr)
		return false
	}
	got, match := sha256.Sum256([]byte(r.Header.Get("X-Gitlab-Token"))), 0
	for _, want := range h.sums {
		match |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	if match == 0 {
		h.Log.Warn("webhook refused: wrong token", "remote", r.RemoteAddr)
	}
	return match == 1
}

// receive wraps the request as an event.
func (h *handler) receive(w http.ResponseWriter, r *http.Request) (ce.Event, error) {
	// Not every ResponseWriter has deadlines; the server's own then apply.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return ce.Event{}, fault.Errorf(fault.TooLarge, "body is larger than %d bytes", MaxBody)
	}
	if err != nil {
		return ce.Event{}, fault.Errorf(fault.Invalid, "body could not be read: %w", err)
	}
	if !json.Valid(body) {
		return ce.Event{}, fault.Errorf(fault.Invalid, "body is not JSON")
	}
	delivery := r.Header.Get("Idempotency-Key")
	if delivery == "" {
		delivery = r.Header.Get("X-Gitlab-Event-UUID")
	}
	sum := sha256.Sum256(body)
	kind := r.Header.Get("X-Gitlab-Event")
	return event.New(event.GitLabWebhook, event.Source(Name), "", event.ID(event.GitLabWebhook, kind, delivery, string(sum[:])), h.Now(),
		event.Webhook{Kind: kind, Delivery: delivery, Received: h.Now(), Body: body})
}

func (h *handler) accept(w http.ResponseWriter, r *http.Request, e ce.Event) {
	if err := h.Emitter.Emit(r.Context(), e); err != nil {
		h.Count(Failed)
		h.Log.Error("push not stored", "project", e.Subject(), "id", e.ID(), "error", err)
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, reply{Error: "the push could not be stored, send it again"})
		return
	}
	h.Count(Accepted)
	h.Log.Info("push accepted", "project", e.Subject(), "id", e.ID())
	answer(w, http.StatusOK, reply{Status: "accepted", EventID: e.ID()})
}

func (h *handler) ignore(w http.ResponseWriter, r *http.Request, reason string) {
	h.Count(Ignored)
	h.Log.Info("webhook ignored", "kind", r.Header.Get("X-Gitlab-Event"), "reason", reason)
	if reason == notPush {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer(w, http.StatusAccepted, reply{Status: "ignored", Reason: reason})
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h.Count(Malformed)
	h.Log.Warn("webhook refused", "remote", r.RemoteAddr, "error", err)
	answer(w, fault.Status(err), reply{Error: err.Error()})
}

// reply is the body of an answer.
type reply struct {
	Status  string `json:"status,omitempty"`
	EventID string `json:"event_id,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Error   string `json:"error,omitempty"`
}

func answer(w http.ResponseWriter, status int, body reply) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away: nobody left to tell
}

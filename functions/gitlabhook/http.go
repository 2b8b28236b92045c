package gitlabhook

import (
	"bytes"
	"context"
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

// Webhooks with more than largeBody bytes (or of unknown length) are taken one at
// a time, since reading one of MaxBody takes four times as much memory; others
// wait for largeWait.
const (
	largeBody = 1 << 20
	largeWait = 5 * time.Second
)

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

// Config is what the HTTP side needs. Of Tokens and Keys, what is given is
// needed: with both, a webhook has to prove itself both ways; with neither,
// every webhook is refused.
type Config struct {
	Tokens  []string     // accepted X-Gitlab-Token values; several, so that one can be replaced without a gap
	Keys    []SigningKey // accepted keys of webhook-signature; several, likewise
	Memory  Memory       // of signed webhooks; needed with Keys
	Emitter function.Emitter
	Now     func() time.Time
	Log     *slog.Logger
	Count   func(Outcome) // may be nil
}

// Handler returns the HTTP side of the function, for POST /gitlab/webhook.
//
// Answers: 200 and {"status":"accepted"} once the event is durable; 202 for what
// is ignored, with the reason; 401 for what does not prove who sent it, without
// a reason; 400 for a body that is not what GitLab sends; 413 for one larger
// than MaxBody; 503 when the event could not be made durable.
func Handler(c Config) http.Handler {
	h := &handler{Config: c, large: make(chan struct{}, 1)}
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
	sums  [][sha256.Size]byte // of the tokens: equal lengths are compared in equal time
	large chan struct{}       // holds whoever takes a large body
}

// errUnauthorized is all that a stranger hears.
var errUnauthorized = fault.Errorf(fault.Unauthorized, "unauthorized")

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, reply{Error: "webhooks are sent with POST"})
		return
	}
	proof, err := h.authorized(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	done, err := h.turn(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer done()
	by, hook, err := h.receive(w, r, proof)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	out, ignored, err := translate(by, hook)
	switch {
	case err != nil:
		h.refuse(w, r, err)
	case out == nil:
		h.ignore(w, r, ignored)
	default:
		h.accept(w, r, *out, proof)
	}
}

// authorized checks what a request's header proves, before any of its body is
// read. proof is nil where no signature is asked for.
func (h *handler) authorized(r *http.Request) (proof *signed, err error) {
	if len(h.sums) == 0 && len(h.Keys) == 0 {
		h.Log.Error("webhook refused: no GitLab token or signing key is configured", "remote", r.RemoteAddr)
		return nil, errUnauthorized
	}
	if len(h.sums) > 0 {
		got, match := sha256.Sum256([]byte(r.Header.Get("X-Gitlab-Token"))), 0
		for _, want := range h.sums {
			match |= subtle.ConstantTimeCompare(got[:], want[:])
		}
		if match == 0 {
			h.Log.Warn("webhook refused: wrong token", "remote", r.RemoteAddr)
			return nil, errUnauthorized
		}
	}
	if len(h.Keys) == 0 {
		return nil, nil
	}
	s, err := readSignature(r.Header, h.Now())
	if err != nil {
		h.Log.Warn("webhook refused: not signed", "remote", r.RemoteAddr, "reason", err)
		return nil, errUnauthorized
	}
	return &s, nil
}

// verify checks the signature over a body, and that it is seen for the first
// time.
func (h *handler) verify(r *http.Request, s *signed, body []byte) error {
	if s == nil {
		return nil
	}
	if !s.by(h.Keys, body) {
		h.Log.Warn("webhook refused: wrong signature", "remote", r.RemoteAddr)
		return errUnauthorized
	}
	s.seen = s.key(body)
	first, err := h.Memory.First(r.Context(), s.seen)
	if err != nil {
		return err
	}
	if !first {
		h.Log.Warn("webhook refused: it was taken before", "remote", r.RemoteAddr, "webhook_id", s.id)
		return errUnauthorized
	}
	return nil
}

// tooLarge is for a body of more than MaxBody bytes.
var tooLarge = fault.Errorf(fault.TooLarge, "body is larger than %d bytes", MaxBody)

// turn waits until a body may be read. done ends the turn.
func (h *handler) turn(r *http.Request) (done func(), err error) {
	switch {
	case r.ContentLength > MaxBody:
		return nil, tooLarge
	case r.ContentLength >= 0 && r.ContentLength <= largeBody:
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), largeWait)
	defer cancel()
	select {
	case h.large <- struct{}{}:
		return func() { <-h.large }, nil
	case <-ctx.Done():
		return nil, fault.Errorf(fault.Transient, "another large webhook is being read")
	}
}

// receive reads the request. by is an event that stands for it, without its body.
func (h *handler) receive(w http.ResponseWriter, r *http.Request, proof *signed) (by ce.Event, hook event.Webhook, err error) {
	// Not every ResponseWriter has deadlines; the server's own then apply.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	body, err := read(http.MaxBytesReader(w, r.Body, MaxBody), r.ContentLength)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return by, hook, tooLarge
	}
	if err != nil {
		return by, hook, fault.Errorf(fault.Invalid, "body could not be read: %w", err)
	}
	if err := h.verify(r, proof, body); err != nil {
		return by, hook, err
	}
	if !json.Valid(body) {
		return by, hook, fault.Errorf(fault.Invalid, "body is not JSON")
	}
	delivery := r.Header.Get("Idempotency-Key")
	if delivery == "" {
		delivery = r.Header.Get("X-Gitlab-Event-UUID")
	}
	sum := sha256.Sum256(body)
	hook = event.Webhook{Kind: r.Header.Get("X-Gitlab-Event"), Delivery: delivery, Received: h.Now()}
	by, err = event.New(event.GitLabWebhook, event.Source(Name), "", event.ID(event.GitLabWebhook, hook.Kind, delivery, string(sum[:])), hook.Received, hook)
	hook.Body = body
	return by, hook, err
}

// read is io.ReadAll into a buffer that is large enough from the start, where the
// sender has said how much there is.
func read(from io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(from)
	}
	b := bytes.NewBuffer(make([]byte, 0, length+bytes.MinRead))
	_, err := b.ReadFrom(from)
	return b.Bytes(), err
}

func (h *handler) accept(w http.ResponseWriter, r *http.Request, e ce.Event, proof *signed) {
	if err := h.Emitter.Emit(r.Context(), e); err != nil {
		if proof != nil { // GitLab may send the very same again
			err = errors.Join(err, h.Memory.Forget(context.WithoutCancel(r.Context()), proof.seen))
		}
		h.failed(w, e.Subject(), err)
		return
	}
	h.Count(Accepted)
	h.Log.Info("webhook accepted", "type", e.Type(), "project", e.Subject(), "id", e.ID())
	answer(w, http.StatusOK, reply{Status: "accepted", EventID: e.ID()})
}

// failed asks GitLab to send again.
func (h *handler) failed(w http.ResponseWriter, project string, err error) {
	h.Count(Failed)
	h.Log.Error("webhook not stored", "project", project, "error", err)
	w.Header().Set("Retry-After", "5")
	answer(w, http.StatusServiceUnavailable, reply{Error: "the webhook could not be stored, send it again"})
}

func (h *handler) ignore(w http.ResponseWriter, r *http.Request, reason string) {
	h.Count(Ignored)
	h.Log.Info("webhook ignored", "kind", r.Header.Get("X-Gitlab-Event"), "reason", reason)
	answer(w, http.StatusAccepted, reply{Status: "ignored", Reason: reason})
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch fault.KindOf(err) {
	case fault.Transient:
		h.failed(w, "", err)
	case fault.Unauthorized:
		h.Count(Unauthorized)
		answer(w, http.StatusUnauthorized, reply{Error: "unauthorized"})
	default:
		h.Count(Malformed)
		h.Log.Warn("webhook refused", "remote", r.RemoteAddr, "error", err)
		answer(w, fault.Status(err), reply{Error: err.Error()})
	}
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

package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Webhook posts each event to an address as a structured CloudEvent. The
// header Idempotency-Key carries the event's ID, the same at each attempt.
type Webhook struct {
	url    string
	token  string
	client *http.Client
}

var _ Sink = (*Webhook)(nil)

// NewWebhook returns a sink that posts to url; a token that is not empty goes
// along as a bearer token. The client should have a timeout and follow no
// redirects: a redirected POST loses its body.
func NewWebhook(url, token string, client *http.Client) *Webhook {
	return &Webhook{url: url, token: token, client: client}
}

// Name implements Sink.
func (*Webhook) Name() string { return "webhook" }

// Deliver implements Sink. An answer that is worth a repetition (see
// fault.StatusRetried), or none, is fault.Transient; any other but 2xx is
// fault.Permanent.
func (h *Webhook) Deliver(ctx context.Context, r Report) error {
	body, err := json.Marshal(r.Event)
	if err != nil {
		return fault.New("encode event", fault.Permanent, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return fault.New("webhook", fault.Permanent, err)
	}
	req.Header.Set("Content-Type", ce.ApplicationCloudEventsJSON)
	req.Header.Set("Idempotency-Key", r.Event.ID())
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fault.New("webhook", fault.Transient, err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode/100 == 2 {
		return nil
	}
	kind := fault.Permanent
	if fault.StatusRetried(resp.StatusCode) {
		kind = fault.Transient
	}
	return fault.New("webhook", kind, fmt.Errorf("answered %d", resp.StatusCode))
}

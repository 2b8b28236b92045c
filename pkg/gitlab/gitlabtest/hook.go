package gitlabtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Hook is a configured webhook: where to, and how the sender proves who it is.
type Hook struct {
	URL    string       `json:"url"`
	Token  string       `json:"token,omitempty"`       // sent as X-Gitlab-Token
	Secret string       `json:"signing_key,omitempty"` // "whsec_<base64>": signs as GitLab 19.0 does
	Client *http.Client `json:"-"`                     // http.DefaultClient if nil
	Now    func() time.Time
}

// Delivery is one webhook to send.
type Delivery struct {
	Kind string // X-Gitlab-Event, e.g. "Push Hook"
	Key  string // Idempotency-Key, the same for each attempt; "" sends none
	UUID string // X-Gitlab-Event-UUID; "" sends none
	Body []byte
}

// Reply is how a receiver answered.
type Reply struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Request makes the HTTP request of a delivery.
func (h Hook) Request(ctx context.Context, d Delivery) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "GitLab/19.0.0")
	r.Header.Set("X-Gitlab-Event", d.Kind)
	r.Header.Set("X-Gitlab-Instance", "https://gitlab.example.com")
	for name, v := range map[string]string{"Idempotency-Key": d.Key, "X-Gitlab-Event-UUID": d.UUID, "X-Gitlab-Webhook-UUID": "6f2b6bf2-2a0c-4a1d-9a38-5f1f3b8c3f10", "X-Gitlab-Token": h.Token} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	if h.Secret != "" {
		now := time.Now
		if h.Now != nil {
			now = h.Now
		}
		return r, Sign(r.Header, h.Secret, d.Key, now(), d.Body)
	}
	return r, nil
}

// Sign sets webhook-id, webhook-timestamp and webhook-signature:
// "v1,<base64 of HMAC-SHA256 over id.timestamp.body>". The key is
// "whsec_<base64>".
func Sign(header http.Header, secret, id string, at time.Time, body []byte) error {
	encoded, found := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !found || len(key) == 0 {
		return errors.New("gitlabtest: a signing key is whsec_ and base64")
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + stamp + "."))
	_, _ = mac.Write(body)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", stamp)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// Send delivers once.
func (h Hook) Send(ctx context.Context, d Delivery) (Reply, error) {
	r, err := h.Request(ctx, d)
	if err != nil {
		return Reply{}, err
	}
	client := h.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return Reply{Status: resp.StatusCode, Body: string(b)}, err
}

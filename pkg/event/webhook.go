package event

import (
	"encoding/json"
	"time"
)

// Webhook is the data of GitLabWebhook.
type Webhook struct {
	Kind     string          `json:"kind"`               // X-Gitlab-Event, e.g. "Push Hook"
	Delivery string          `json:"delivery,omitempty"` // Idempotency-Key, else X-Gitlab-Event-UUID, "" if neither was sent
	Received time.Time       `json:"received"`
	Body     json.RawMessage `json:"body"` // as GitLab sent it
}

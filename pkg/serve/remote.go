package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Remote is a function behind a URL: the counterpart of Handler. Its errors
// keep the HTTP status they stem from (StatusOf) and are Transient where
// Knative would deliver again, else Permanent.
type Remote struct {
	URL    string
	Client *http.Client // must have a timeout; redirects are not followed
}

var (
	_ function.Handler = (*Remote)(nil)
	_ function.Emitter = (*Sink)(nil)
)

// Handle posts the event in structured mode and returns the reply, if any.
func (r *Remote) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	body, media, err := post(ctx, r.Client, r.URL, e)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	if media != ce.ApplicationCloudEventsJSON {
		return nil, fault.Errorf(fault.Transient, "serve: %s answered with a body that is not a CloudEvent", r.URL)
	}
	reply, err := decodeStructured(body)
	if err != nil {
		return nil, fault.Errorf(fault.Transient, "serve: %s answered with a malformed event: %w", r.URL, err)
	}
	return &reply, nil
}

// Sink is an Emitter that posts events to a URL, in a cluster the broker's
// ingress that Knative names in K_SINK.
type Sink struct {
	URL    string
	Client *http.Client // must have a timeout; redirects are not followed
}

// Emit posts the event in structured mode. A 2xx means it is durably stored.
func (s *Sink) Emit(ctx context.Context, e ce.Event) error {
	_, _, err := post(ctx, s.Client, s.URL, e)
	return err
}

func post(ctx context.Context, c *http.Client, url string, e ce.Event) (body []byte, media string, err error) {
	raw, err := event.Encode(e)
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, "", fault.New("serve: post event", fault.Permanent, err)
	}
	req.Header.Set("Content-Type", ce.ApplicationCloudEventsJSON)
	if tp := event.Extension(e, event.ExtTraceparent); tp != "" { // what is on the way reads headers, not events
		req.Header.Set("Traceparent", tp)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", fault.New("serve: post event", fault.Transient, err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, "", answered(resp.StatusCode, body)
	}
	if err != nil {
		return nil, "", fault.New("serve: read answer", fault.Transient, err)
	}
	media, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return body, media, nil
}

// statusError is an HTTP answer that wasn't a success.
type statusError struct {
	code   int
	reason string
}

func (e *statusError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("answered %d %s: %s", e.code, http.StatusText(e.code), e.reason), ": ")
}

// StatusCode is the status of the answer.
func (e *statusError) StatusCode() int { return e.code }

func answered(code int, body []byte) error {
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Error == "" {
		p.Error = string(body)
	}
	kind := fault.Permanent
	if fault.StatusRetried(code) {
		kind = fault.Transient
	}
	e := &statusError{code: code}
	if p.Error != "" {
		e.reason = reason(errors.New(p.Error))
	}
	return fault.New("", kind, e)
}

func remoteStatus(err error) (int, bool) {
	var e interface{ StatusCode() int }
	if errors.As(err, &e) {
		return e.StatusCode(), true
	}
	return 0, false
}

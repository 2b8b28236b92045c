package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Limits bound what a receiver reads. Zero fields take the defaults.
type Limits struct {
	Event  int64 // bytes of one event's body; default 1 MiB
	Batch  int64 // bytes of a batch's body; default 4 MiB
	Events int   // events in one batch; default 1000
}

func (l Limits) withDefaults() Limits {
	if l.Event == 0 {
		l.Event = 1 << 20
	}
	if l.Batch == 0 {
		l.Batch = 4 << 20
	}
	if l.Events == 0 {
		l.Events = 1000
	}
	return l
}

// mode is a CloudEvents HTTP content mode.
type mode uint8

const (
	binary mode = iota
	structured
	batch
)

// modeOf tells the content mode from the headers. Formats other than JSON are
// refused.
func modeOf(h http.Header) (mode, error) {
	content := h.Get("Content-Type")
	media, _, err := mime.ParseMediaType(content)
	if err != nil && content != "" {
		return binary, fault.Errorf(fault.Invalid, "serve: malformed Content-Type")
	}
	switch {
	case media == ce.ApplicationCloudEventsJSON:
		return structured, nil
	case media == ce.ApplicationCloudEventsBatchJSON:
		return batch, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return binary, fault.Errorf(fault.Invalid, "serve: event format %.100q is not supported, use JSON", media)
	}
	return binary, nil
}

// decode reads the request's events: one in binary and structured mode, any
// number in batch mode. Each is checked with event.Check. Errors are
// fault.Invalid, fault.TooLarge or, if the sender stalls, fault.Transient.
func decode(r *http.Request, l Limits) ([]ce.Event, mode, error) {
	m, err := modeOf(r.Header)
	if err != nil {
		return nil, m, err
	}
	limit := l.Event
	if m == batch {
		limit = l.Batch
	}
	body, err := readBody(r, limit)
	if err != nil {
		return nil, m, err
	}
	var events []ce.Event
	switch m {
	case batch:
		events, err = decodeBatch(body, l)
	case structured:
		events, err = one(decodeStructured(body))
	default:
		events, err = one(decodeBinary(r, body))
	}
	return events, m, err
}

func one(e ce.Event, err error) ([]ce.Event, error) {
	if err != nil {
		return nil, err
	}
	return []ce.Event{e}, nil
}

func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fault.Errorf(fault.TooLarge, "serve: body of %d bytes, at most %d are accepted", r.ContentLength, limit)
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, fault.Errorf(fault.Invalid, "serve: Content-Encoding %.40q is not supported", enc)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fault.Errorf(fault.TooLarge, "serve: body exceeds %d bytes", limit)
	}
	return body, fault.New("serve: read body", fault.Transient, err)
}

// decodeBinary reads attributes from ce- headers. A repeated header is refused,
// because two readers might take different ones.
func decodeBinary(r *http.Request, body []byte) (ce.Event, error) {
	version := r.Header.Get("Ce-Specversion")
	if version == "" {
		return ce.Event{}, fault.Errorf(fault.Invalid, "serve: not a CloudEvent: no ce-specversion header and no structured Content-Type")
	}
	if version != ce.CloudEventsVersionV1 {
		return ce.Event{}, fault.Errorf(fault.Invalid, "serve: specversion %.16q is not supported, only 1.0 is", version)
	}
	count := 0
	for header, values := range r.Header {
		name, ok := strings.CutPrefix(header, "Ce-")
		if !ok {
			continue
		}
		if name == "" { // the SDK panics on it
			return ce.Event{}, fault.Errorf(fault.Invalid, "serve: a ce- header without a name")
		}
		if len(values) > 1 {
			return ce.Event{}, fault.Errorf(fault.Invalid, "serve: header %.64q is repeated", name)
		}
		if count++; count > event.MaxExtensions+8 {
			return ce.Event{}, fault.Errorf(fault.Invalid, "serve: too many ce- headers")
		}
	}
	req := &http.Request{Header: r.Header, Body: io.NopCloser(bytes.NewReader(body))}
	e, err := cehttp.NewEventFromHTTPRequest(req)
	if err != nil {
		return ce.Event{}, fault.New("serve: decode binary event", fault.Invalid, err)
	}
	return checked(*e)
}

func decodeBatch(body []byte, l Limits) ([]ce.Event, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fault.Errorf(fault.Invalid, "serve: batch is not a JSON array")
	}
	if len(raw) > l.Events {
		return nil, fault.Errorf(fault.TooLarge, "serve: batch of %d events, at most %d are accepted", len(raw), l.Events)
	}
	events := make([]ce.Event, 0, len(raw))
	for i, b := range raw {
		if int64(len(b)) > l.Event {
			return nil, fault.Errorf(fault.TooLarge, "serve: event %d of the batch exceeds %d bytes", i, l.Event)
		}
		e, err := decodeStructured(b)
		if err != nil {
			return nil, fault.Errorf(fault.Invalid, "serve: event %d of the batch: %w", i, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// checked turns an event into an accepted one.
func checked(e ce.Event) (ce.Event, error) {
	if err := event.Check(e); err != nil {
		return ce.Event{}, err
	}
	return e, nil
}

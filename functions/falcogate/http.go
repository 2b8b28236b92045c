package falcogate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// ServeHTTP stores what one request holds.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := g.serve(w, r)
	if r.Method != http.MethodPost && r.Method != http.MethodPut { // Falcosidekick's webhook.method is either
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "alerts are sent with POST or PUT", http.StatusMethodNotAllowed)
		return
	}
	if err != nil {
		if fault.Retryable(err) {
			g.cfg.Log.Error("alerts not stored", "error", err, "remote", r.RemoteAddr)
		} else {
			g.cfg.Log.Warn("not an alert", "error", err, "remote", r.RemoteAddr)
		}
		serve.Refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request) error {
	format, err := g.admit(r)
	if err != nil {
		g.count.received.Inc()
		return g.reject(err)
	}
	body, err := read(w, r, g.cfg.MaxBody)
	if err != nil {
		g.count.received.Inc()
		return g.reject(err)
	}
	texts, err := split(format, body, r.Header)
	if err != nil {
		g.count.received.Inc()
		return g.reject(err)
	}
	g.count.received.Add(float64(len(texts)))
	items := make([]alerts.Item, 0, len(texts))
	var bad error
	sensor := g.fromSensor(r)
	for i, t := range texts {
		t.sensor = sensor
		it, err := t.item()
		if err == nil {
			items = append(items, it)
			continue
		}
		if err = g.reject(err); bad == nil {
			if bad = err; len(texts) > 1 {
				bad = fmt.Errorf("alert %d of %d: %w", i+1, len(texts), err)
			}
		}
	}
	if err := g.put(function.WithTraceparent(r.Context(), traceparent(r.Header, format)), items); err != nil {
		return err
	}
	return bad
}

// traceparent is a request's trace context. Falcosidekick has none, our sensor
// has that of the scan.
func traceparent(h http.Header, f format) string {
	if s := h.Get("Ce-Traceparent"); f == binary && s != "" {
		return s
	}
	return h.Get("Traceparent")
}

// format is how a request carries its alerts.
type format uint8

const (
	webhook    format = iota // one alert or a list, Falcosidekick's webhook output
	binary                   // a CloudEvent with its attributes in headers
	structured               // a CloudEvent as JSON
	batched                  // a list of them
)

// admit checks everything about a request but its body.
func (g *Gate) admit(r *http.Request) (format, error) {
	if r.Method != http.MethodPost && r.Method != http.MethodPut { // Falcosidekick's webhook.method is either
		return 0, refused("method", fault.Errorf(fault.Invalid, "alerts are sent with POST or PUT"))
	}
	f, err := formatOf(r.Header)
	if err != nil {
		return 0, err
	}
	if err := g.authorize(r, f != webhook); err != nil {
		return 0, refused("unauthorized", err)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return 0, refused("content_type", fault.Errorf(fault.Invalid, "content encoding %.40q is not supported", e))
	}
	if f != binary {
		return f, nil
	}
	if v := r.Header.Get("Ce-Specversion"); v != "1.0" {
		return 0, refused("specversion", fault.Errorf(fault.Invalid, "CloudEvents version %.16q is not 1.0", v))
	}
	return f, nil
}

// IsCloudEvent reports whether a request is a CloudEvent, by its headers. No
// web page can make another site's visitor send one unasked.
func IsCloudEvent(h http.Header) bool {
	f, err := formatOf(h)
	return err == nil && f != webhook
}

func formatOf(h http.Header) (format, error) {
	kind := h.Get("Content-Type")
	if kind != "application/json" { // the common case needs no parser
		var err error
		if kind, _, err = mime.ParseMediaType(kind); err != nil && h.Get("Content-Type") != "" {
			return 0, refused("content_type", fault.Errorf(fault.Invalid, "content type %.80q can't be read", h.Get("Content-Type")))
		}
	}
	switch {
	case kind == "application/cloudevents+json":
		return structured, nil
	case kind == "application/cloudevents-batch+json":
		return batched, nil
	case kind != "application/json" && kind != "text/json" && kind != "":
		return 0, refused("content_type", fault.Errorf(fault.Invalid, "content type %.80q is not JSON", kind))
	case h.Get("Ce-Specversion") != "" || h.Get("Ce-Type") != "":
		return binary, nil
	default:
		return webhook, nil
	}
}

// read reads a body of at most limit bytes.
func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, refused("too_large", fault.Errorf(fault.TooLarge, "request of %d bytes exceeds %d", r.ContentLength, limit))
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refused("too_large", fault.Errorf(fault.TooLarge, "request exceeds %d bytes", limit))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refused("malformed", fault.Errorf(fault.Invalid, "request ends before its length"))
	case err != nil:
		return nil, refused("malformed", fault.Errorf(fault.Invalid, "request can't be read: %v", err))
	}
	return buf.Bytes(), nil
}

// text is one alert's JSON, inside an envelope or not.
type text struct {
	raw      []byte
	event    *sender // of a binary CloudEvent
	envelope bool    // a structured CloudEvent
	sensor   bool    // our own sensor's
}

// split divides a body into alerts without looking into them.
func split(f format, body []byte, h http.Header) ([]text, error) {
	switch f {
	case binary:
		return []text{{raw: body, event: &sender{h.Get("Ce-Type"), h.Get("Ce-Source")}}}, nil
	case structured:
		return []text{{raw: body, envelope: true}}, nil
	}
	if body = bytes.TrimLeft(body, " \t\r\n"); f == webhook && !bytes.HasPrefix(body, []byte{'['}) {
		return []text{{raw: body}}, nil
	}
	texts, err := elements(body, f == batched)
	if err != nil {
		return nil, refused("malformed", err)
	}
	return texts, nil
}

// maxList bounds the alerts in one request: a list of single digits would
// otherwise cost many times its size.
const maxList = 10_000

func elements(body []byte, envelopes bool) ([]text, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fault.Errorf(fault.Invalid, "the text is not a JSON list")
	}
	var texts []text
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fault.Errorf(fault.Invalid, "the text is not a JSON list: %v", err)
		}
		if len(texts) == maxList {
			return nil, fault.Errorf(fault.TooLarge, "the list has more than %d alerts", maxList)
		}
		texts = append(texts, text{raw: raw, envelope: envelopes})
	}
	if _, err := d.Token(); err != nil {
		return nil, fault.Errorf(fault.Invalid, "the list does not end")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.Errorf(fault.Invalid, "there is text after the list")
	}
	return texts, nil
}

// envelope is a structured CloudEvent.
type envelope struct {
	SpecVersion string          `json:"specversion"`
	Type        string          `json:"type"`
	Source      string          `json:"source"`
	Data        json.RawMessage `json:"data"`
	Base64      []byte          `json:"data_base64"`
}

func (t text) item() (alerts.Item, error) {
	raw, from := t.raw, t.event
	if t.envelope {
		var e envelope
		if err := json.Unmarshal(raw, &e); err != nil {
			return alerts.Item{}, refused("malformed", fault.Errorf(fault.Invalid, "the text is not a CloudEvent: %s", strings.ToValidUTF8(err.Error(), "")))
		}
		if e.SpecVersion != "1.0" {
			return alerts.Item{}, refused("specversion", fault.Errorf(fault.Invalid, "CloudEvents version %.16q is not 1.0", e.SpecVersion))
		}
		from = &sender{e.Type, e.Source}
		if raw = e.Data; len(raw) == 0 {
			raw = e.Base64
		}
	}
	decode := item
	if t.sensor {
		decode = sensorItem
	}
	it, err := decode(raw)
	if from != nil { // what comes from elsewhere is told so, whether or not it reads as an alert
		if err := from.check(it.Alert); err != nil {
			return it, err
		}
	}
	switch {
	case err == nil:
		return it, nil
	case fault.KindOf(err) == fault.TooLarge:
		return it, refused("too_large", err)
	default:
		return it, refused("malformed", err)
	}
}

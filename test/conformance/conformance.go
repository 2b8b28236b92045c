// Package conformance holds the behaviour that every broker under Falconer's
// functions must have, the embedded one and Knative's alike.
//
// A case (testdata/*.txtar) states a topology, the events sent to the broker's
// HTTP ingress, how each subscriber answers, and what each subscriber must have
// received in the end. A Target runs the broker; the suite only speaks HTTP to
// it: it sends to an ingress URL, and its subscribers are HTTP receivers.
package conformance

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// Cases holds the cases, testdata/*.txtar.
//
//go:embed testdata/*.txtar
var Cases embed.FS

// Target is a broker under test, and where its subscribers run.
type Target interface {
	// Receive starts a subscriber that answers by a script (see NewReceiver) and
	// returns its URL.
	Receive(ctx context.Context, name, script string) (url string, err error)
	// Apply makes the broker run a topology of Knative resources, delivering to
	// the subscribers (name to URL). It returns the ingress URL of the broker
	// test/default.
	Apply(ctx context.Context, topology []byte, subscribers map[string]string) (ingress string, err error)
	// Send posts one line of a case's events to the ingress, see Send.
	Send(ctx context.Context, ingress, text string) (status int, err error)
	// Got returns what a subscriber received, see Receiver.Got.
	Got(ctx context.Context, name string) ([]string, error)
}

// Receiver is a subscriber. It records what it gets and answers by script.
type Receiver struct {
	script []answer // answers in turn, the last one for ever; empty: 202

	mu  sync.Mutex
	got []string
	n   map[string]int // deliveries by event ID
}

// answer is a status, or a reply with the given type.
type answer struct {
	status int
	reply  string
}

// NewReceiver parses a script: words that are a status ("503"), "reply:TYPE",
// or either of them repeated ("503*2").
func NewReceiver(script string) (*Receiver, error) {
	r := &Receiver{n: map[string]int{}}
	for word := range strings.FieldsSeq(script) {
		what, times, many := strings.Cut(word, "*")
		n := 1
		if many {
			var err error
			if n, err = strconv.Atoi(times); err != nil {
				return nil, fmt.Errorf("script word %q: %w", word, err)
			}
		}
		var a answer
		if typ, ok := strings.CutPrefix(what, "reply:"); ok {
			a.reply = typ
		} else if _, err := fmt.Sscanf(what, "%d", &a.status); err != nil {
			return nil, fmt.Errorf("script word %q is neither a status nor a reply", word)
		}
		r.script = append(r.script, slices.Repeat([]answer{a}, n)...)
	}
	return r, nil
}

// ServeHTTP receives an event as a function does.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	serve.Handler(function.HandlerFunc(r.handle), serve.Options{}).ServeHTTP(w, req)
}

func (r *Receiver) handle(_ context.Context, e ce.Event) (*ce.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, line(e))
	n := r.n[e.ID()]
	r.n[e.ID()]++
	if len(r.script) == 0 {
		return nil, nil
	}
	a := r.script[min(n, len(r.script)-1)]
	switch {
	case a.reply != "":
		reply := e.Clone()
		reply.SetType(a.reply)
		reply.SetID(e.ID() + "+")
		return &reply, nil
	case a.status < 300:
		return nil, nil
	}
	return nil, &scripted{a.status}
}

// scripted is an answer with an exact status, which serve keeps.
type scripted struct{ code int }

func (s *scripted) Error() string   { return "scripted" }
func (s *scripted) StatusCode() int { return s.code }

// Got returns what was received, sorted, one line each.
func (r *Receiver) Got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := slices.Clone(r.got)
	slices.Sort(got)
	return got
}

// line renders what a case compares: type, ID, and the extensions that both
// runtimes agree on.
func line(e ce.Event) string {
	var ext []string
	for name, v := range e.Extensions() {
		switch name {
		case "knativearrivaltime", "traceparent", "tracestate", "falconertrigger", "knativeerrordest", "knativeerrordata", "knativebrokerttl":
			continue // differ between runtimes or runs
		}
		ext = append(ext, fmt.Sprintf(" %s=%v", name, v))
	}
	slices.Sort(ext)
	return e.Type() + " " + e.ID() + strings.Join(ext, "")
}

// Send posts one line of a case's "events" file: JSON, an event or a batch. It
// returns the status.
func Send(ctx context.Context, c *http.Client, ingress, text string) (int, error) {
	media := ce.ApplicationCloudEventsJSON
	if strings.HasPrefix(text, "[") {
		media = ce.ApplicationCloudEventsBatchJSON
	}
	if !json.Valid([]byte(text)) {
		return 0, fault.Errorf(fault.Invalid, "not JSON: %s", text)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ingress, strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", media)
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

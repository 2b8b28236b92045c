// Package deadletter keeps the events that a subscriber could not handle, until
// somebody replays or discards them.
//
// Guarantees: Handle returns nil once the letter is durably stored. There is
// one letter for each event and trigger; a later failure of the same event
// replaces the earlier letter. Nothing expires and nothing is discarded to make
// room: a full store refuses letters, and the broker keeps trying. A replay
// removes its letter only once the broker has the event, and repeating an
// interrupted replay is harmless.
package deadletter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// The extensions that the brokers put on dead letters: Knative's three, and the
// embedded broker's name of the trigger.
const (
	extDest    = "knativeerrordest"
	extCode    = "knativeerrorcode"
	extData    = "knativeerrordata"
	extTrigger = "falconertrigger"
)

const (
	streamName = "DEADLETTERS"
	prefix     = "deadletters."
	maxBytes   = 512 << 20
)

// ErrNotFound is wrapped when there is no letter with the ID. It is
// fault.Permanent.
var ErrNotFound = errors.New("no such dead letter")

// Letter is an event that was not handled, and why.
type Letter struct {
	ID      string    `json:"id"`      // stable for event and trigger
	At      time.Time `json:"at"`      // of the last failure
	Trigger string    `json:"trigger"` // "" if a cluster's broker sent it
	Dest    string    `json:"dest"`    // the subscriber's address
	Code    int       `json:"code"`    // the HTTP status of the failure
	Reason  string    `json:"reason"`
	Event   ce.Event  `json:"event"` // as the subscriber got it

	seq uint64 // in the stream
}

// Redeliverer delivers an event to one trigger again; calls with one key are
// one. The embedded broker is one.
type Redeliverer interface {
	Redeliver(ctx context.Context, trigger string, e ce.Event, key string) error
}

// Store holds dead letters. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

var _ function.Handler = (*Store)(nil)

// New opens the store, creating its stream where there is none.
func New(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Store, error) {
	if nc == nil {
		return nil, fault.Errorf(fault.Permanent, "deadletter: no NATS connection (is NATS_URL set?)")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("deadletter: open JetStream", fault.Permanent, err)
	}
	kept, err := stream.Open(ctx, js, jetstream.StreamConfig{
		Name: streamName, Description: "Events that no subscriber could handle",
		Subjects: []string{prefix + "*"}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxBytes: maxBytes, MaxMsgsPerSubject: 1, AllowDirect: true,
	}, stream.On(opts))
	if err != nil {
		return nil, fault.New("deadletter: open stream", fault.Transient, err)
	}
	return &Store{js: js, stream: kept}, nil
}

// Handle stores the event as a letter. It never replies. Errors are
// fault.Transient.
func (s *Store) Handle(ctx context.Context, e ce.Event) (*ce.Event, error) {
	l := letterOf(e)
	body, err := event.Encode(l.Event)
	if err != nil { // its data isn't what it claims to be: maybe that is why it failed
		l.Event.DataBase64 = true
		body, err = event.Encode(l.Event)
	}
	if err != nil {
		return nil, fault.New("deadletter: encode", fault.Transient, err)
	}
	msg := &nats.Msg{Subject: prefix + l.ID, Data: body, Header: nats.Header{
		extTrigger: {l.Trigger}, extDest: {l.Dest}, extCode: {strconv.Itoa(l.Code)},
		extData: {base64.StdEncoding.EncodeToString([]byte(l.Reason))},
	}}
	_, err = s.js.PublishMsg(ctx, msg)
	return nil, fault.New("deadletter: store", fault.Transient, err)
}

// letterOf takes the failure's extensions off the event.
func letterOf(e ce.Event) Letter {
	l := Letter{Trigger: event.Extension(e, extTrigger), Dest: fmt.Sprint(orEmpty(e.Extensions()[extDest]))}
	if code, err := types.ToInteger(e.Extensions()[extCode]); err == nil {
		l.Code = int(code)
	}
	l.Reason = Reason(e)
	l.Event = e.Clone()
	for _, name := range []string{extTrigger, extDest, extCode, extData} {
		l.Event.SetExtension(name, nil)
	}
	h := sha256.New()
	for _, part := range []string{e.Source(), e.ID(), l.Trigger, l.Dest} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	l.ID = hex.EncodeToString(h.Sum(nil)[:12])
	return l
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// Reason says why e became a dead letter. It reads the failed answer's body:
// our functions answer {"error": "..."}, others whatever they like, and a
// cluster's broker may have cut it.
func Reason(e ce.Event) string {
	data := event.Extension(e, extData)
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		raw = []byte(data)
	}
	var body struct{ Error string }
	if json.Unmarshal(raw, &body) == nil && body.Error != "" {
		return body.Error
	}
	return string(raw)
}

// List iterates over the letters, the oldest failure first.
func (s *Store) List(ctx context.Context) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		for seq := uint64(1); ; {
			m, err := s.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(prefix+"*"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(Letter{}, fault.New("deadletter: list", fault.Transient, err))
				return
			}
			seq = m.Sequence + 1
			if !yield(open(m)) {
				return
			}
		}
	}
}

// Get returns one letter; ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, id string) (Letter, error) {
	if b, err := hex.DecodeString(id); err != nil || len(b) != 12 {
		return Letter{}, fault.New("deadletter "+strconv.Quote(id), fault.Permanent, ErrNotFound)
	}
	m, err := s.stream.GetLastMsgForSubject(ctx, prefix+id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, fault.New("deadletter "+id, fault.Permanent, ErrNotFound)
	}
	if err != nil {
		return Letter{}, fault.New("deadletter: get", fault.Transient, err)
	}
	return open(m)
}

func open(m *jetstream.RawStreamMsg) (Letter, error) {
	l := Letter{
		ID: m.Subject[len(prefix):], At: m.Time, seq: m.Sequence,
		Trigger: m.Header.Get(extTrigger), Dest: m.Header.Get(extDest),
	}
	l.Code, _ = strconv.Atoi(m.Header.Get(extCode))
	why, _ := base64.StdEncoding.DecodeString(m.Header.Get(extData))
	l.Reason = string(why)
	if err := l.Event.UnmarshalJSON(m.Data); err != nil {
		return l, fault.New("deadletter "+l.ID, fault.Permanent, err)
	}
	return l, nil
}

// Replay has the letter's event delivered to the trigger that failed, and
// removes the letter. If the event fails again it comes back as a new letter.
// A letter without a trigger goes to emit, for all triggers; handlers are
// idempotent.
func (s *Store) Replay(ctx context.Context, id string, to Redeliverer, emit function.Emitter) error {
	l, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if l.Trigger != "" {
		err = to.Redeliver(ctx, l.Trigger, l.Event, fmt.Sprintf("%s/%d", l.ID, l.seq))
	} else {
		err = emit.Emit(ctx, l.Event)
	}
	if err != nil {
		return fmt.Errorf("deadletter %s: replay: %w", id, err)
	}
	return s.remove(ctx, l)
}

// Discard removes a letter for good; ErrNotFound if there is none.
func (s *Store) Discard(ctx context.Context, id string) error {
	l, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return s.remove(ctx, l)
}

// remove deletes this letter, not one that has replaced it since.
func (s *Store) remove(ctx context.Context, l Letter) error {
	err := s.stream.DeleteMsg(ctx, l.seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, err := s.stream.GetMsg(ctx, l.seq); errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	return fault.New("deadletter: remove "+l.ID, fault.Transient, err)
}

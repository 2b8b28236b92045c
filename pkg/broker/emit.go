package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// MaxHops is how many generations of events one event may cause.
const MaxHops = 255

// extHops is the extension in which Knative's broker counts hops down. It is
// removed before delivery and put back on replies.
const extHops = "knativebrokerttl"

// ErrFull is wrapped by Emit's error while events that are yet to be handled
// take up the broker's space. It is fault.Transient: sending later helps.
var ErrFull = errors.New("the broker is full of events that are yet to be handled")

// errHops refuses an event that is the last of too long a chain.
var errHops = errors.New("the event's chain of causes is too long, this looks like a loop")

// hops is the context key under which a handler's context carries how many
// more generations its events may have.
type hops struct{}

// Emit stores an event. It returns nil once JetStream has acknowledged it, also
// if the event was there before. An event that isn't valid (event.Check) or
// whose hops are used up is fault.Invalid, one over Config.MaxEvent is
// fault.TooLarge, everything else (ErrFull, JetStream out of reach) is
// fault.Transient.
//
// A handler should pass on its own context: the broker recognises by it what an
// event was caused by.
func (b *Broker) Emit(ctx context.Context, e ce.Event) error {
	left, inherited := ctx.Value(hops{}).(int32)
	e, err := count(e, left, inherited)
	if err == nil {
		err = b.store(ctx, b.subjects.typed(e.Type()), e, identity(e.Source(), e.ID()), inherited)
	}
	b.metrics.emission(err)
	return err
}

// Redeliver has an event delivered again to one Trigger only, whatever its
// filter says, as if for the first time: what the replay of a dead letter needs.
// Calls with the same key within Config.Dedup are one. An unknown trigger is
// fault.Permanent; other errors are those of Emit.
func (b *Broker) Redeliver(ctx context.Context, trigger string, e ce.Event, key string) error {
	for _, r := range b.routes {
		if r.trigger.Name != trigger {
			continue
		}
		e, err := count(e, 0, false)
		if err == nil {
			err = b.store(ctx, b.subjects.trigger(trigger), e, identity("redeliver", trigger, key), true)
		}
		b.metrics.emission(err)
		return err
	}
	return fault.Errorf(fault.Permanent, "broker: no trigger %q", trigger)
}

// count checks an event and returns a copy with its remaining hops: as many as
// its cause left, one less than it claims itself, or MaxHops.
func count(e ce.Event, left int32, inherited bool) (ce.Event, error) {
	if err := event.Check(e); err != nil {
		return e, err
	}
	e = e.Clone()
	n := int32(MaxHops)
	if v, ok := e.Extensions()[extHops]; ok {
		claimed, err := types.ToInteger(v)
		if err != nil {
			return e, fault.Errorf(fault.Invalid, "broker: extension %s is not a number", extHops)
		}
		n = min(n, claimed-1)
	}
	if inherited {
		n = min(n, left-1)
	}
	if n <= 0 {
		return e, fault.New("broker", fault.Invalid, errHops)
	}
	e.SetExtension(extHops, n)
	return e, nil
}

// store publishes and waits for the acknowledgement. Events caused by events
// may use the reserve of space.
func (b *Broker) store(ctx context.Context, subject string, e ce.Event, id string, reserve bool) error {
	body, err := event.Encode(e)
	if err != nil {
		return err
	}
	if len(body) > b.cfg.MaxEvent {
		return fault.Errorf(fault.TooLarge, "broker: event of %d bytes as JSON, at most %d are accepted", len(body), b.cfg.MaxEvent)
	}
	if limit := b.cfg.MaxBytes / 10 * 9; !reserve && b.used.Load()+int64(len(body)) > limit {
		b.nudge()
		return fault.New("broker: store event", fault.Transient, ErrFull)
	}
	msg := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{jetstream.MsgIDHeader: {id}}}
	ack, err := b.js.PublishMsg(ctx, msg)
	if err != nil {
		return b.refused(err)
	}
	if !ack.Duplicate {
		b.used.Add(int64(len(body) + len(subject) + overhead))
	}
	return nil
}

// overhead is about what JetStream adds to each message.
const overhead = 100

// storeFailed is JetStream's error code for a stream that can't take more.
const storeFailed = 10077

func (b *Broker) refused(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fault.New("broker: store event", fault.TooLarge, err)
	}
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) && api.ErrorCode == storeFailed {
		b.nudge()
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fault.New("broker: store event", fault.Transient, err)
}

// nudge asks the janitor to make room.
func (b *Broker) nudge() {
	select {
	case b.full <- struct{}{}:
	default:
	}
}

// identity hashes what makes an event one; parts are length-prefixed.
func identity(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// decode reads what store wrote.
func decode(body []byte) (ce.Event, error) {
	var e ce.Event
	err := e.UnmarshalJSON(body)
	return e, err
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// maxCrashes is how many deliveries beyond its retries an event gets from
// processes that ended without saying what became of it.
const maxCrashes = 5

// deliver sees one message through one attempt. ctx ends when the broker
// abandons what is running.
func (b *Broker) deliver(ctx context.Context, r *route, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		b.log.Error("not a JetStream message", "trigger", r.trigger.Name, "error", err)
		return
	}
	seq := meta.Sequence.Stream
	f := r.board(seq, m)
	if f == nil {
		return
	}
	e, err := decode(m.Data())
	if err != nil {
		b.log.Error("stored event is unreadable", "trigger", r.trigger.Name, "seq", seq, "error", err)
		b.answer(r, r.land(seq).TermWithReason("unreadable"))
		return
	}
	d := &delivery{Broker: b, route: r, flight: f, seq: seq, event: e}
	if !strings.HasPrefix(m.Subject(), b.subjects.prefix+".trigger.") && f.cause == nil {
		ok, err := r.trigger.Match(e)
		if err == nil && !ok {
			b.answer(r, r.land(seq).Ack())
			return
		}
		f.cause = err
	}
	if earlier := int(meta.NumDelivered) - f.seen; f.cause == nil && earlier > r.trigger.Delivery.Retry+maxCrashes {
		f.cause = fmt.Errorf("delivered %d times by processes that ended before an outcome", earlier)
	}
	d.attempt(ctx)
}

// answer logs an acknowledgement that could not be sent. Nothing is lost by it:
// the event is delivered again.
func (b *Broker) answer(r *route, err error) {
	if err != nil {
		b.log.Warn("delivery not acknowledged", "trigger", r.trigger.Name, "error", err)
	}
}

// delivery is one attempt to deliver one event.
type delivery struct {
	*Broker
	*route
	*flight
	seq   uint64
	event ce.Event
}

func (d *delivery) attempt(ctx context.Context) {
	if d.cause == nil {
		err := d.handle(ctx)
		if ctx.Err() != nil && err != nil {
			d.giveBack(0)
			return
		}
		if err == nil {
			d.finish("delivered")
			return
		}
		d.failures++
		if fault.StatusRetried(status(err)) && d.failures <= d.trigger.Delivery.Retry {
			wait := d.trigger.Delivery.Wait(d.failures - 1)
			d.note("delivery failed, will be retried", err, "failures", d.failures, "wait", wait)
			d.metrics.delivery(d.trigger.Name, "retried")
			d.giveBack(wait)
			return
		}
		d.cause = err
	}
	d.bury(ctx)
}

// handle runs the subscriber and stores its reply.
func (d *delivery) handle(ctx context.Context) error {
	release, err := d.to.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	left, e := uncount(d.event)
	timeout := d.trigger.Delivery.Timeout
	if timeout == 0 {
		timeout = d.cfg.Timeout
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, hops{}, left), timeout)
	defer cancel()
	start := time.Now()
	reply, err := d.to.handler.Handle(ctx, e)
	d.metrics.seconds.WithLabelValues(d.trigger.Name).Observe(time.Since(start).Seconds())
	if err != nil || reply == nil {
		return err
	}
	if err := d.Emit(ctx, *reply); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// acquire waits for one of the subscriber's slots.
func (s *subscriber) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// buryWait bounds the waits between attempts to reach a dead-letter sink.
const buryWait = time.Minute

// bury hands the event to the dead-letter sink, again and again until it takes
// it.
func (d *delivery) bury(ctx context.Context) {
	err := d.letter(ctx)
	if err == nil {
		d.note("event is a dead letter", d.cause, "failures", d.failures)
		d.finish("dead")
		return
	}
	if ctx.Err() != nil {
		d.giveBack(0)
		return
	}
	wait := min(time.Second<<min(d.burials, 10), buryWait)
	d.burials++
	d.note("dead-letter sink failed, will be retried", err, "cause", d.cause, "wait", wait)
	d.metrics.delivery(d.trigger.Name, "undead")
	d.giveBack(wait)
}

func (d *delivery) letter(ctx context.Context) error {
	release, err := d.dead.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, e := uncount(d.event)
	address(&e, d.trigger, d.cause)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	_, err = d.dead.handler.Handle(ctx, e)
	return err
}

func (d *delivery) finish(outcome string) {
	d.metrics.delivery(d.trigger.Name, outcome)
	d.answer(d.route, d.land(d.seq).Ack())
}

// giveBack returns the event to the stream, to be delivered again after wait.
func (d *delivery) giveBack(wait time.Duration) {
	m := d.park(d.seq)
	if wait == 0 {
		d.answer(d.route, m.Nak())
		return
	}
	d.answer(d.route, m.NakWithDelay(wait))
}

func (d *delivery) note(msg string, err error, args ...any) {
	args = append(args, "trigger", d.trigger.Name, "type", d.event.Type(), "id", d.event.ID(), "scan_id", event.Extension(d.event, event.ExtScanID), "error", err)
	if panicked := (*function.PanicError)(nil); errors.As(err, &panicked) {
		args = append(args, "stack", string(panicked.Stack))
	}
	d.log.Warn(msg, args...)
}

// uncount takes the hops off an event, as subscribers don't see them.
func uncount(e ce.Event) (left int32, out ce.Event) {
	left, err := types.ToInteger(e.Extensions()[extHops])
	if err != nil {
		left = MaxHops
	}
	out = e.Clone()
	out.SetExtension(extHops, nil)
	return left, out
}

// status is the HTTP status that an error stands for: its own, if it comes from
// an HTTP answer, else that of its fault.Kind.
func status(err error) int {
	var answered interface{ StatusCode() int }
	if errors.As(err, &answered) {
		return answered.StatusCode()
	}
	return fault.Status(err)
}

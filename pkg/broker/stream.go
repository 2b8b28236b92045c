package broker

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
)

const (
	// ackWait is how long JetStream waits for a sign of life before it takes a
	// delivery for lost. Deliveries in progress give one every beat.
	ackWait = 6 * time.Second
	beat    = 2 * time.Second

	// maxOutstanding bounds the events that one Trigger has in flight or in
	// back-off; beyond it, further ones wait in the stream.
	maxOutstanding = 4096

	// managed marks the consumers that this package made.
	managed = "falconer-trigger"
)

// openStream creates or updates the stream. It never discards: see the package
// comment on space.
func (b *Broker) openStream(ctx context.Context) error {
	stream, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        b.subjects.stream,
		Description: "Events of broker " + b.cfg.Name.Namespace + "/" + b.cfg.Name.Name,
		Subjects:    []string{b.subjects.all()},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    b.cfg.MaxBytes,
		Duplicates:  b.cfg.Dedup,
		AllowDirect: true,
	})
	if err != nil {
		return fault.New("broker: open stream "+b.subjects.stream, fault.Transient, err)
	}
	b.stream = stream
	b.used.Store(int64(stream.CachedInfo().State.Bytes))
	return nil
}

// openConsumers creates or updates one consumer for each Trigger. A Trigger
// that is new to the stream hears of events from now on, as in Knative; the
// consumers of Triggers that are gone are removed.
func (b *Broker) openConsumers(ctx context.Context) error {
	var names []string
	for _, t := range b.cfg.Triggers.For(b.cfg.Name) {
		r := &route{trigger: t, consumer: "trigger-" + t.Name, flights: map[uint64]*flight{}}
		c, err := b.configure(ctx, r, ackWait)
		if err != nil {
			return err
		}
		r.source = c
		b.routes = append(b.routes, r)
		names = append(names, r.consumer)
	}
	list := b.stream.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Metadata[managed] == "" || slices.Contains(names, info.Name) {
			continue
		}
		b.log.Warn("trigger is gone, so is its backlog", "consumer", info.Name, "pending", info.NumPending)
		if err := b.stream.DeleteConsumer(ctx, info.Name); err != nil {
			return fault.New("broker: delete consumer "+info.Name, fault.Transient, err)
		}
	}
	return fault.New("broker: list consumers", fault.Transient, list.Err())
}

func (b *Broker) configure(ctx context.Context, r *route, wait time.Duration) (jetstream.Consumer, error) {
	cfg := jetstream.ConsumerConfig{
		Durable:        r.consumer,
		Description:    "Trigger " + r.trigger.Namespace + "/" + r.trigger.Name,
		DeliverPolicy:  jetstream.DeliverNewPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        wait,
		MaxDeliver:     -1,
		MaxAckPending:  maxOutstanding,
		FilterSubjects: b.subjects.filter(r.trigger),
		Metadata:       map[string]string{managed: r.trigger.Name},
	}
	c, err := b.stream.CreateOrUpdateConsumer(ctx, cfg)
	return c, fault.New("broker: open consumer of trigger "+r.trigger.Name, fault.Transient, err)
}

// reclaim makes JetStream deliver again at once what a process that died had
// in flight. Nobody else can be working on it, one process owns the stream; so
// the acknowledgement wait is cut to nothing for the moment in which the server
// looks for overdue deliveries. Events in back-off for longer than ackWait aren't
// due and keep waiting.
func (b *Broker) reclaim(ctx context.Context) error {
	var cut []*route
	for _, r := range b.routes {
		info, err := r.source.Info(ctx)
		if err != nil {
			return fault.New("broker: inspect trigger "+r.trigger.Name, fault.Transient, err)
		}
		if info.NumAckPending == 0 {
			continue
		}
		b.log.Info("events were in flight when the last process ended", "trigger", r.trigger.Name, "events", info.NumAckPending)
		if _, err := b.configure(ctx, r, time.Millisecond); err != nil {
			return err
		}
		cut = append(cut, r)
	}
	if len(cut) == 0 {
		return nil
	}
	select { // the server looks 100 ms after a changed wait
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
		return fault.New("broker: start", fault.Transient, context.Cause(ctx))
	}
	for _, r := range cut {
		if _, err := b.configure(ctx, r, ackWait); err != nil {
			return err
		}
	}
	return nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/trigger"
)

// route is a Trigger at work: its consumer, its subscriber, and what is
// currently between the two.
type route struct {
	trigger  *trigger.Trigger
	consumer string
	source   jetstream.Consumer
	to, dead *subscriber

	mu      sync.Mutex
	flights map[uint64]*flight // by stream sequence
}

// flight is an event under way to a subscriber, or waiting for a retry. At most
// maxOutstanding exist for each route.
type flight struct {
	msg      jetstream.Msg // nil while the event waits for a retry
	seen     int           // deliveries by this process
	failures int           // of the subscriber
	cause    error         // why the event goes to the dead-letter sink; nil if it does not
	burials  int           // failures of the dead-letter sink
}

// resolve finds the handlers that the Trigger names.
func (r *route) resolve(subscribers map[string]*subscriber) error {
	find := func(role string, d trigger.Destination) (*subscriber, error) {
		if d.Name == "" || d.URI != "" {
			return nil, fmt.Errorf("trigger %s: its %s is a URI (%q), this broker delivers to functions", r.trigger.Name, role, d.URL())
		}
		s, ok := subscribers[d.Name]
		if !ok {
			return nil, fmt.Errorf("trigger %s: its %s %q is not registered", r.trigger.Name, role, d.Name)
		}
		return s, nil
	}
	var err1, err2 error
	r.to, err1 = find("subscriber", r.trigger.Subscriber)
	r.dead, err2 = find("dead-letter sink", r.trigger.Delivery.DeadLetter)
	return errors.Join(err1, err2)
}

// board takes a message on. It returns nil if the event is in flight already:
// JetStream took its delivery for lost while it was merely slow.
func (r *route) board(seq uint64, m jetstream.Msg) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[seq]
	if f == nil {
		f = &flight{}
		r.flights[seq] = f
	}
	f.seen++
	busy := f.msg != nil
	f.msg = m
	if busy {
		return nil
	}
	return f
}

// land ends a flight for good.
func (r *route) land(seq uint64) jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[seq]
	delete(r.flights, seq)
	return f.msg
}

// park ends a flight until the next delivery.
func (r *route) park(seq uint64) jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[seq]
	m := f.msg
	f.msg = nil
	return m
}

// airborne lists the messages in flight.
func (r *route) airborne() []jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ms []jetstream.Msg
	for _, f := range r.flights {
		if f.msg != nil {
			ms = append(ms, f.msg)
		}
	}
	return ms
}

// heartbeat tells JetStream which deliveries are alive.
func (b *Broker) heartbeat() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-tick.C:
		}
		for _, r := range b.routes {
			for _, m := range r.airborne() {
				if err := m.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
					b.log.Warn("heartbeat not sent", "trigger", r.trigger.Name, "error", err)
				}
			}
		}
	}
}

// pullWait is how long one pull request stays open at the server.
const pullWait = 30 * time.Second

// fetch takes events off the stream as long as ctx lives, never more than the
// subscriber can run at once: what is fetched too early could expire in a queue.
func (b *Broker) fetch(ctx, handling context.Context, r *route) {
	credit := make(chan struct{}, cap(r.to.slots))
	for {
		select {
		case credit <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n := 1
		for ; n < cap(credit); n++ {
			select {
			case credit <- struct{}{}:
				continue
			default:
			}
			break
		}
		got, err := b.pull(ctx, r, n, func(m jetstream.Msg) {
			b.running.Go(func() {
				defer func() { <-credit }()
				b.deliver(handling, r, m)
			})
		})
		for ; got < n; got++ {
			<-credit
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("events not fetched", "trigger", r.trigger.Name, "error", err)
			sleep(ctx, time.Second)
		}
	}
}

// pull hands up to n messages to take as they come.
func (b *Broker) pull(ctx context.Context, r *route, n int, take func(jetstream.Msg)) (got int, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullWait)
	defer cancel()
	batch, err := r.source.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return 0, err
	}
	for m := range batch.Messages() {
		got++
		take(m)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return got, err
	}
	return got, nil
}

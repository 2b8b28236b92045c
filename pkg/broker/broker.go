// Package broker is the embedded broker: Knative's Broker and Triggers inside
// one process, on a JetStream stream.
//
// Delivery. Emit returns nil once the event is stored. From then on each
// Trigger that matches has it delivered at least once, in no particular order,
// until its subscriber succeeds or its dead-letter sink has taken it. What
// counts as a failure, what is retried and how long after, and what a dead
// letter looks like are Knative's rules (see package trigger); a panic is a
// failure that is retried. A reply is stored before the event that caused it is
// acknowledged. A dead-letter sink that fails is tried for ever.
//
// Identity. Events are equal if source and ID are; an event emitted again
// within Config.Dedup is stored once. Beyond that window, and whenever a
// process dies between the end of a handler and its acknowledgement, a handler
// sees an event again: handlers are idempotent.
//
// Restart. What was stored survives a killed process. Events that were in
// flight are delivered again within a second of the next start. So are those
// that waited for a retry, unless they had more than ackWait to go, in which
// case they keep their waiting time. Attempts are counted in memory,
// so a restart grants new ones, but an event whose handler keeps taking the
// process down becomes a dead letter after a few restarts.
//
// Space. Handled events stay as a log (Events) for Config.Keep and as long as
// there is room; they make way for new ones. An event that some Trigger has yet
// to handle is never discarded: once the backlog alone fills Config.MaxBytes,
// Emit fails with fault.Transient. The last tenth of the space is kept for
// events emitted by handlers, so that a full broker can still work itself free.
//
// Loops. An event may cause at most MaxHops generations of events through
// replies and emissions; the next one is refused.
//
// One process serves a broker's stream at a time.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// Config configures a Broker. Conn, Name and Triggers are required.
type Config struct {
	Conn     *nats.Conn
	Name     trigger.Broker // namespace and name
	Triggers *trigger.Set   // those of other brokers are ignored

	MaxBytes int64         // stored events; default 1 GiB
	MaxEvent int           // bytes of one event as JSON; default 2 MiB
	Keep     time.Duration // how long handled events stay; default 7 days
	Dedup    time.Duration // window of Emit's deduplication; default 5 min
	Timeout  time.Duration // of an attempt, where a Trigger sets none; default 5 min, as Knative Serving's

	Log     *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil registers nothing
}

// Broker is the embedded broker. Its methods are safe for concurrent use.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	js       jetstream.JetStream
	stream   jetstream.Stream
	subjects subjects
	metrics  *metrics
	used     atomic.Int64  // estimate of the stream's bytes
	full     chan struct{} // wakes the janitor

	mu          sync.Mutex // guards the fields below
	subscribers map[string]*subscriber
	routes      []*route
	started     bool
	closed      bool

	stop    context.CancelFunc // ends fetching
	abandon context.CancelFunc // ends handlers
	fetched sync.WaitGroup     // fetch loops, janitor
	running sync.WaitGroup     // deliveries
	done    chan struct{}      // closed when Close has finished
	pulses  sync.WaitGroup     // heartbeat
}

var _ function.Emitter = (*Broker)(nil)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// New opens the broker's stream and its Triggers' consumers, creating what
// isn't there. Emit works from now on; nothing is delivered before Start. It
// fails if a Trigger names no dead-letter sink, since its failed events would be
// lost.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.check(); err != nil {
		return nil, fault.New("broker", fault.Permanent, err)
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fault.New("broker: open JetStream", fault.Permanent, err)
	}
	b := &Broker{
		cfg: cfg, log: cfg.Log, js: js, subjects: subjectsOf(cfg.Name),
		subscribers: map[string]*subscriber{}, done: make(chan struct{}), full: make(chan struct{}, 1),
	}
	if b.metrics, err = newMetrics(cfg.Metrics, cfg.Name); err != nil {
		return nil, err
	}
	if err := b.openStream(ctx); err != nil {
		return nil, err
	}
	if err := b.openConsumers(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (c *Config) check() error {
	if c.Conn == nil || c.Triggers == nil {
		return errors.New("Config needs Conn and Triggers")
	}
	if !dnsLabel.MatchString(c.Name.Namespace) || !dnsLabel.MatchString(c.Name.Name) {
		return fmt.Errorf("%q is not a namespace and name", c.Name.Namespace+"/"+c.Name.Name)
	}
	for _, t := range c.Triggers.For(c.Name) {
		if t.Delivery.DeadLetter.IsZero() {
			return fmt.Errorf("trigger %s names no dead-letter sink, its failed events would be lost", t.Name)
		}
	}
	setDefault(&c.MaxBytes, 1<<30)
	setDefault(&c.MaxEvent, 2<<20)
	setDefault(&c.Keep, 7*24*time.Hour)
	setDefault(&c.Dedup, 5*time.Minute)
	setDefault(&c.Timeout, 5*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// subscriber is a function that Triggers may name.
type subscriber struct {
	name    string
	handler function.Handler
	slots   chan struct{} // a token for each running delivery
}

// Option adjusts a subscription.
type Option func(*subscriber)

// Concurrency lets n deliveries to the subscriber run at once, over all its
// Triggers. The default is 4.
func Concurrency(n int) Option {
	return func(s *subscriber) { s.slots = make(chan struct{}, max(n, 1)) }
}

// Subscribe registers the handler of the function that Triggers name as
// subscriber or dead-letter sink. A later registration of the name replaces an
// earlier one. It must precede Start.
func (b *Broker) Subscribe(name string, h function.Handler, opts ...Option) {
	s := &subscriber{name: name, handler: function.Recover()(h), slots: make(chan struct{}, 4)}
	for _, o := range opts {
		o(s)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers[name] = s
}

// Start begins to deliver. ctx bounds the start only; Close ends the delivery.
// It fails with fault.Permanent if a Trigger names a subscriber or dead-letter
// sink that isn't registered, or if called twice.
func (b *Broker) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started || b.closed {
		return fault.Errorf(fault.Permanent, "broker: started or closed before")
	}
	for _, r := range b.routes {
		if err := r.resolve(b.subscribers); err != nil {
			return fault.New("broker", fault.Permanent, err)
		}
	}
	if err := b.reclaim(ctx); err != nil {
		return err
	}
	var fetching, handling context.Context
	fetching, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	handling, b.abandon = context.WithCancel(context.WithoutCancel(ctx))
	for _, r := range b.routes {
		b.fetched.Go(func() { b.fetch(fetching, handling, r) })
	}
	b.fetched.Go(func() { b.janitor(fetching) })
	b.pulses.Go(b.heartbeat)
	b.started = true
	return nil
}

// Close stops taking events off the stream, waits for running deliveries until
// ctx ends, then cancels what still runs and hands it back, to be delivered
// again at the next start. It returns fault.Transient if it had to cancel. The
// connection stays open.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closed || !b.started {
		b.closed = true
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()

	b.stop()
	b.fetched.Wait()
	drained := make(chan struct{})
	go func() { b.running.Wait(); close(drained) }()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fault.New("broker: drain", fault.Transient, context.Cause(ctx))
		b.abandon()
		select {
		case <-drained:
		case <-time.After(cancelGrace):
			b.log.Error("a handler ignores its cancellation", "grace", cancelGrace)
		}
	}
	b.abandon()
	close(b.done)
	b.pulses.Wait()
	return errors.Join(err, fault.New("broker: flush", fault.Transient, b.cfg.Conn.FlushTimeout(5*time.Second)))
}

// cancelGrace is what a handler gets to return once it was cancelled: more than
// a sandbox takes to be gone.
const cancelGrace = 20 * time.Second

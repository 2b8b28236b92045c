package falcogate

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Defaults of IntakeConfig.
const (
	DefaultIntakeStream   = "falcosidekick"
	DefaultIntakeMaxBytes = 1 << 30
)

const (
	intakeBatch = 512              // alerts stored in one go
	intakeAck   = 30 * time.Second // after a killed gate its batch comes again
	intakePause = time.Second      // before trying again what failed
	maxNaks     = 5 * time.Second
)

// IntakeConfig says where Falcosidekick's NATS output publishes.
type IntakeConfig struct {
	Subject  string // with wildcards, e.g. "falco.>"; required
	Stream   string // "" means DefaultIntakeStream
	Replicas int    // of the stream in a cluster; 0 means 1
	MaxBytes int64  // disk the stream may use; 0 means DefaultIntakeMaxBytes
	AckWait  time.Duration
}

// Intake is the gate's high-rate path: a JetStream stream captures what
// Falcosidekick's NATS output publishes, and Run moves it to the alert store in
// batches.
//
// An alert leaves the stream only once it is stored, recognised as stored
// before, or counted as over its limit; a gate that is killed in between gets
// it again. What is not an alert is counted as rejected and leaves the stream
// at once. Several gates share the work. Falcosidekick publishes without asking
// whether the stream took it: while NATS is away, or the stream is full, it
// loses alerts unseen, as with its other outputs.
type Intake struct {
	gate     *Gate
	consumer jetstream.Consumer
	pending  prometheus.Gauge
}

// NewIntake opens the stream, creating it where there is none, and registers
// its metric. Errors are fault.Permanent where the server refuses the
// configuration, else transient.
func NewIntake(ctx context.Context, nc *nats.Conn, c IntakeConfig, g *Gate, reg prometheus.Registerer) (*Intake, error) {
	if c.Stream == "" {
		c.Stream = DefaultIntakeStream
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultIntakeMaxBytes
	}
	if c.AckWait <= 0 {
		c.AckWait = intakeAck
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("falcogate: open JetStream", fault.Permanent, err)
	}
	// Full, it keeps what it has: how an attack begins tells more than how it goes on.
	captured, err := stream.Open(ctx, js, jetstream.StreamConfig{
		Name: c.Stream, Subjects: []string{c.Subject}, Description: "Alerts as Falcosidekick's NATS output publishes them",
		Storage: jetstream.FileStorage, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxBytes: c.MaxBytes,
	}, stream.Terms{Replicas: c.Replicas})
	if err != nil {
		return nil, fault.New("falcogate", fault.KindOf(err), err)
	}
	consumer, err := captured.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: Name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.AckWait, MaxDeliver: -1, MaxAckPending: 8 * intakeBatch,
	})
	if err != nil {
		return nil, intakeError("open consumer", err)
	}
	i := &Intake{gate: g, consumer: consumer, pending: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "falconer", Subsystem: "gate", Name: "nats_pending", Help: "Alerts of Falcosidekick's NATS output that are not stored yet.",
	})}
	return i, fault.New("falcogate: register metrics", fault.Permanent, reg.Register(i.pending))
}

func intakeError(what string, err error) error {
	kind := fault.Transient
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 {
		kind = fault.Permanent
	}
	return fault.New("falcogate: "+what, kind, err)
}

// Run moves alerts until ctx ends, then returns nil once the batch under way is
// through. What keeps it from moving them is logged, and tried again.
func (i *Intake) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := i.run(ctx); err != nil && ctx.Err() == nil {
			i.complain(ctx, err)
		}
	}
	return nil
}

// complain logs and waits a while.
func (i *Intake) complain(ctx context.Context, err error) {
	i.gate.cfg.Log.Error("alerts of Falcosidekick's NATS output are not stored at the moment", "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(intakePause):
	}
}

// run moves alerts until something fails or ctx ends.
func (i *Intake) run(ctx context.Context) error {
	it, err := i.consumer.Messages(jetstream.PullMaxMessages(2 * intakeBatch))
	if err != nil {
		return fault.New("falcogate: read Falcosidekick's stream", fault.Transient, err)
	}
	arrived := make(chan jetstream.Msg, intakeBatch)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		it.Stop()
		return nil
	})
	g.Go(func() error {
		defer close(arrived)
		return receive(ctx, it, arrived)
	})
	g.Go(func() error {
		for m := range arrived {
			// A batch that was taken off the stream is seen through.
			if err := i.store(context.WithoutCancel(ctx), drain(m, arrived)); err != nil {
				i.complain(ctx, err)
			}
		}
		return nil
	})
	return g.Wait()
}

// receive hands messages on until ctx ends.
func receive(ctx context.Context, it jetstream.MessagesContext, to chan<- jetstream.Msg) error {
	for {
		m, err := it.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			if ctx.Err() != nil {
				return nil
			}
			return fault.New("falcogate: read Falcosidekick's stream", fault.Transient, err)
		case err != nil: // a missed heartbeat: the iterator goes on by itself
			continue
		}
		select {
		case to <- m:
		case <-ctx.Done():
			return nil
		}
	}
}

// drain returns m and what has arrived since.
func drain(m jetstream.Msg, arrived <-chan jetstream.Msg) []jetstream.Msg {
	msgs := []jetstream.Msg{m}
	for len(msgs) < intakeBatch {
		select {
		case m, ok := <-arrived:
			if !ok {
				return msgs
			}
			msgs = append(msgs, m)
		default:
			return msgs
		}
	}
	return msgs
}

// store stores a batch and settles each message by what became of its alert.
func (i *Intake) store(ctx context.Context, msgs []jetstream.Msg) error {
	g := i.gate
	items, of := make([]alerts.Item, 0, len(msgs)), make([]jetstream.Msg, 0, len(msgs))
	for _, m := range msgs {
		g.count.received.Inc()
		it, err := text{raw: m.Data()}.item()
		if err != nil {
			g.cfg.Log.Warn("not an alert", "error", g.reject(err), "subject", m.Subject())
			i.settle(m.TermWithReason("not an alert"))
			continue
		}
		items, of = append(items, it), append(of, m)
	}
	if meta, err := msgs[len(msgs)-1].Metadata(); err == nil {
		i.pending.Set(float64(meta.NumPending))
	}
	if len(items) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	outcomes, err := g.store.Put(ctx, items)
	for n, o := range outcomes {
		g.count.outcome(o)
		switch {
		case o.Status != alerts.Failed:
			i.settle(of[n].Ack())
		case fault.Retryable(o.Err):
			i.settle(of[n].NakWithDelay(again(of[n])))
		default: // no other attempt will store it
			g.cfg.Log.Error("an alert can't be stored", "error", o.Err, "subject", of[n].Subject())
			i.settle(of[n].TermWithReason("can't be stored"))
		}
	}
	if err != nil && !fault.Retryable(err) {
		return nil
	}
	return err
}

// again is how long an alert waits that could not be stored.
func again(m jetstream.Msg) time.Duration {
	meta, err := m.Metadata()
	if err != nil {
		return intakePause
	}
	return min(maxNaks, time.Duration(meta.NumDelivered)*intakePause)
}

// settle logs an acknowledgement that could not be sent: the alert comes again
// and is recognised.
func (i *Intake) settle(err error) {
	if err != nil {
		i.gate.cfg.Log.Debug("alert not acknowledged", "error", err)
	}
}

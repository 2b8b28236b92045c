package alerts

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Bounds of a Notifier.
const (
	// Window is the least time between two announcements of the same scan.
	Window = 2 * time.Millisecond
	// RedeliverAfter is how long the announcements of a killed process wait
	// for another one.
	RedeliverAfter = 5 * time.Second

	windowAlerts = 4096 // alerts announced in one go
	emitters     = 16   // announcements under way at once
	backoffMax   = time.Second
)

// Notifier announces stored alerts: one event.FalcoAlert a scan (or pod) and
// Window, whose ID follows from what it announces. The first alert after a
// quiet time is announced at once. An alert counts as announced only once the
// Emitter has the event durably, so that it may be announced twice but never
// not at all; several Notifiers share the work.
type Notifier struct {
	store   *Store
	emitter function.Emitter
	now     func() time.Time
	log     *slog.Logger
}

// NewNotifier returns a Notifier. The clock dates the events.
func NewNotifier(s *Store, e function.Emitter, now func() time.Time, log *slog.Logger) *Notifier {
	return &Notifier{store: s, emitter: e, now: now, log: log}
}

// Run announces until ctx ends, then it returns nil. What keeps it from
// announcing is logged, and tried again.
func (n *Notifier) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := n.run(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("alerts are stored, but not announced at the moment", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(backoffMax):
			}
		}
	}
	return nil
}

func (n *Notifier) run(ctx context.Context) error {
	consumer, err := n.store.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "notify", AckPolicy: jetstream.AckExplicitPolicy, AckWait: RedeliverAfter,
		HeadersOnly: true, MaxAckPending: 2 * windowAlerts, MaxDeliver: -1,
	})
	if err != nil {
		return fault.New("alerts: open the notification consumer", fault.Transient, err)
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(windowAlerts))
	if err != nil {
		return fault.New("alerts: read notifications", fault.Transient, err)
	}
	arrived := make(chan jetstream.Msg, windowAlerts)
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
		n.loop(ctx, arrived)
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
			if ctx.Err() == nil {
				return fault.New("alerts: read notifications", fault.Transient, err)
			}
			return nil
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

// loop collects what has arrived, announces it, and starts over, no sooner
// than Window later.
func (n *Notifier) loop(ctx context.Context, arrived <-chan jetstream.Msg) {
	var last time.Time // monotonic: paces, dates nothing
	for {
		m, ok := <-arrived
		if !ok {
			return
		}
		b := newBatch()
		b.add(m)
		if wait := Window - time.Since(last); wait > 0 {
			b.collect(ctx, arrived, wait)
		}
		b.drain(arrived)
		last = time.Now()
		n.announce(ctx, b)
		if ctx.Err() != nil {
			return
		}
	}
}

// announce emits one event a group, again and again until it is durable or ctx
// ends, and acknowledges the group's alerts.
func (n *Notifier) announce(ctx context.Context, b *batch) {
	var g errgroup.Group
	g.SetLimit(emitters)
	for _, group := range b.groups {
		g.Go(func() error {
			n.emit(ctx, group)
			return nil
		})
	}
	_ = g.Wait() // no error is ever returned above
}

func (n *Notifier) emit(ctx context.Context, g *group) {
	a := g.Alerts
	id := event.ID(event.FalcoAlert, a.Subject, strconv.FormatUint(a.First, 10), strconv.FormatUint(a.Last, 10), strconv.Itoa(a.Count))
	subject := string(a.ScanID)
	if subject == "" {
		subject = a.Subject
	}
	e, err := event.New(event.FalcoAlert, event.Source("falcogate"), subject, id, n.now(), a)
	if err != nil {
		n.log.Error("alerts can't be announced", "scan_id", a.ScanID, "subject", a.Subject, "error", err)
		return
	}
	if a.ScanID != "" {
		e.SetExtension(event.ExtScanID, string(a.ScanID))
	}
	if function.ParseTraceparent(g.traceparent).IsValid() {
		e.SetExtension(event.ExtTraceparent, g.traceparent)
	}
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, backoffMax) {
		if err = n.emitter.Emit(ctx, e); err == nil {
			break
		}
		n.log.Warn("alerts not announced yet", "scan_id", a.ScanID, "subject", a.Subject, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
	for _, m := range g.msgs {
		if err := m.Ack(); err != nil { // it comes again, and is recognised
			n.log.Debug("announcement not acknowledged", "error", err)
		}
	}
}

// batch is what one announcement round covers.
type batch struct {
	groups map[string]*group
	size   int
}

type group struct {
	event.Alerts
	traceparent string // of the first alert that has one
	msgs        []jetstream.Msg
}

func newBatch() *batch { return &batch{groups: map[string]*group{}} }

func (b *batch) add(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not a JetStream message: nothing of ours
	}
	seq := meta.Sequence.Stream
	filter, id := groupOf(m.Subject())
	g := b.groups[filter]
	if g == nil {
		g = &group{Alerts: event.Alerts{ScanID: id, Subject: filter, First: seq}}
		b.groups[filter] = g
	}
	g.First, g.Last = min(g.First, seq), max(g.Last, seq)
	g.Count++
	if g.traceparent == "" {
		g.traceparent = m.Headers().Get(headerTrace)
	}
	if g.Count <= event.MaxSeqs {
		g.Seqs = append(g.Seqs, seq)
	} else {
		g.Seqs = nil
	}
	g.msgs = append(g.msgs, m)
	b.size++
}

// collect adds what arrives within d.
func (b *batch) collect(ctx context.Context, arrived <-chan jetstream.Msg, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for b.size < windowAlerts {
		select {
		case m, ok := <-arrived:
			if !ok {
				return
			}
			b.add(m)
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// drain adds what is there already.
func (b *batch) drain(arrived <-chan jetstream.Msg) {
	for b.size < windowAlerts {
		select {
		case m, ok := <-arrived:
			if !ok {
				return
			}
			b.add(m)
		default:
			return
		}
	}
}

package broker

import (
	"context"
	"errors"
	"iter"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Stored is an event in the log.
type Stored struct {
	Seq   uint64    // ascending, with gaps
	Time  time.Time // when it was stored
	Event ce.Event
}

// Query selects events of the log. Zero fields select everything.
type Query struct {
	After   uint64    // only events with a greater Seq
	Since   time.Time // only events stored at or after it
	Type    string
	Subject string // the CloudEvents subject
	Limit   int    // at most so many
	Follow  bool   // wait for further events instead of ending
}

// Events iterates over the log in the order in which events were stored. The
// log is what JetStream still holds, see the package comment. Errors end the
// iteration; the end of ctx is not one.
func (b *Broker) Events(ctx context.Context, q Query) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		if err := b.events(ctx, q, yield); err != nil && ctx.Err() == nil {
			yield(Stored{}, fault.New("broker: read event log", fault.Transient, err))
		}
	}
}

func (b *Broker) events(ctx context.Context, q Query, yield func(Stored, error) bool) error {
	info, err := b.stream.Info(ctx)
	if err != nil {
		return err
	}
	next, last := max(q.After+1, info.State.FirstSeq, 1), info.State.LastSeq
	if !q.Since.IsZero() {
		next = max(next, b.firstSince(ctx, info.State, q.Since))
	}
	subject := b.subjects.types()
	if q.Type != "" {
		subject = b.subjects.typed(q.Type)
	}
	var news <-chan struct{}
	if q.Follow {
		var stop func()
		if news, stop, err = b.watch(subject); err != nil {
			return err
		}
		defer stop()
	}
	for n := 0; q.Limit == 0 || n < q.Limit; {
		s, err := b.nextStored(ctx, subject, next)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			if !q.Follow || !wait(ctx, news) {
				return nil
			}
			continue
		case err != nil:
			return err
		case !q.Follow && s.Seq > last:
			return nil // newer than the question
		}
		next = s.Seq + 1
		if q.Subject != "" && s.Event.Subject() != q.Subject {
			continue
		}
		n++
		if !yield(s, nil) {
			return nil
		}
	}
	return nil
}

func (b *Broker) nextStored(ctx context.Context, subject string, seq uint64) (Stored, error) {
	m, err := b.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
	if err != nil {
		return Stored{}, err
	}
	e, err := decode(m.Data)
	if err != nil {
		return Stored{}, err
	}
	_, e = uncount(e)
	return Stored{Seq: m.Sequence, Time: m.Time, Event: e}, nil
}

// watch signals when something is published. The signal may come before the
// event is stored.
func (b *Broker) watch(subject string) (news <-chan struct{}, stop func(), err error) {
	c := make(chan struct{}, 1)
	sub, err := b.cfg.Conn.Subscribe(subject, func(*nats.Msg) {
		select {
		case c <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return c, func() { _ = sub.Unsubscribe() }, nil
}

// settle is how long after a signal the event is surely stored; poll bounds the
// wait for a signal that got lost.
const (
	settle = 10 * time.Millisecond
	poll   = time.Second
)

func wait(ctx context.Context, news <-chan struct{}) bool {
	select {
	case <-news:
		return sleep(ctx, settle)
	case <-time.After(poll):
		return true
	case <-ctx.Done():
		return false
	}
}

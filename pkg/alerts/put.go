package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
)

// A batch is published in portions, so that no Put holds room while it waits
// for more.
const (
	portionItems = 512
	portionBytes = 4 << 20
)

// itemCost is what an alert takes on its way beside its text, in bytes.
const itemCost = 4 << 10

// Put stores items and returns one Outcome for each, in order. Concurrent Puts
// share JetStream's writes. The trace context in ctx is stored with an alert,
// and its announcement belongs to it.
//
// The error is that of the first Item that failed; it is transient, except
// where an alert can't ever be stored (fault.TooLarge, fault.Invalid). When
// ctx ends, items whose answer is outstanding have Failed although they may be
// stored: putting them again is safe.
func (s *Store) Put(ctx context.Context, items []Item) ([]Outcome, error) {
	outcomes := make([]Outcome, len(items))
	for from := 0; from < len(items); {
		n, bytes := 0, 0
		for n < portionItems && from+n < len(items) && (n == 0 || bytes+len(items[from+n].Raw) <= portionBytes) {
			bytes += len(items[from+n].Raw)
			n++
		}
		s.portion(ctx, items[from:from+n], outcomes[from:from+n])
		from += n
	}
	for i := range outcomes {
		if outcomes[i].Status == Failed {
			return outcomes, outcomes[i].Err
		}
	}
	return outcomes, nil
}

// pending is one publication that JetStream has not answered yet.
type pending struct {
	ack   jetstream.PubAckFuture
	item  int
	class string
}

// portion publishes items without waiting, then collects the answers.
func (s *Store) portion(ctx context.Context, items []Item, outcomes []Outcome) {
	msgs := make([]*nats.Msg, len(items))
	var size int64
	traceparent := function.TraceparentOf(ctx)
	for i, it := range items {
		m, err := message(it, s.cfg.Namespace, traceparent)
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		if limit := s.nc.MaxPayload(); limit > 0 && int64(len(m.Data))+512 > limit {
			outcomes[i].Err = fault.Errorf(fault.TooLarge, "alerts: alert of %d bytes exceeds the store's limit", len(m.Data))
			continue
		}
		msgs[i] = m
		size += int64(len(m.Data)) + itemCost
	}
	size = min(size, s.cfg.InFlight)
	if err := s.room.Acquire(ctx, size); err != nil {
		failAll(outcomes, fault.New("alerts: wait for the store", fault.Transient, err))
		return
	}
	defer s.room.Release(size)

	waiting := make([]pending, 0, len(items))
	for i, m := range msgs {
		if m == nil {
			continue
		}
		ack, err := s.js.PublishMsgAsync(m)
		if err != nil {
			outcomes[i].Err = fault.New("alerts: store", fault.Transient, err)
			continue
		}
		waiting = append(waiting, pending{ack: ack, item: i, class: classOf(items[i].Alert.Priority)})
	}
	for _, p := range waiting {
		outcomes[p.item] = s.await(ctx, p)
	}
}

// await waits for one answer.
func (s *Store) await(ctx context.Context, p pending) Outcome {
	select {
	case ack := <-p.ack.Ok():
		if ack.Duplicate {
			return Outcome{Status: Duplicate, Seq: ack.Sequence}
		}
		return Outcome{Status: Stored, Seq: ack.Sequence}
	case err := <-p.ack.Err():
		if !overLimit(err) {
			return Outcome{Err: fault.New("alerts: store", fault.Transient, err)}
		}
		if err := s.capped.add(ctx, cappedSubject(p.ack.Msg().Subject, p.class)); err != nil {
			return Outcome{Err: err}
		}
		return Outcome{Status: Capped}
	case <-ctx.Done():
		return Outcome{Err: fault.New("alerts: wait for the store", fault.Transient, ctx.Err())}
	}
}

// overLimit reports whether JetStream refused a message because its subject is
// full. Other limits (disk) share the error code, not the text.
func overLimit(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "maximum messages per subject")
}

func failAll(outcomes []Outcome, err error) {
	for i := range outcomes {
		if outcomes[i].Err == nil {
			outcomes[i].Err = err
		}
	}
}

// headerTrace is the header with the traceparent of whoever stored the alert.
const headerTrace = "Traceparent"

// message encodes an item.
func message(it Item, sandboxes, traceparent string) (*nats.Msg, error) {
	raw := it.Raw
	if len(raw) == 0 {
		var err error
		if raw, err = json.Marshal(it.Alert); err != nil {
			return nil, fault.New("alerts: encode alert", fault.Invalid, err)
		}
	}
	subject := subjectOf(it.Alert, it.ScanID, sandboxes)
	m := &nats.Msg{
		Subject: subject, Data: raw,
		Header: nats.Header{jetstream.MsgIDHeader: []string{messageID(it.Alert.Digest(), subject)}},
	}
	if traceparent != "" {
		m.Header[headerTrace] = []string{traceparent}
	}
	return m, nil
}

// messageID is what JetStream recognises a repetition by: the digest, and
// enough of the scan ID that one scan's alert can't displace another's.
func messageID(digest, subject string) string {
	if rest, ok := strings.CutPrefix(subject, subjectScan); ok {
		return digest + "." + rest[:8]
	}
	return digest
}

// classOf splits counts of capped alerts by whether they could have changed
// the verdict (finding.Judge).
func classOf(p finding.Priority) string {
	if p <= finding.Warning {
		return classJudged
	}
	return classNoted
}

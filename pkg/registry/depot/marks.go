package depot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// marksKept is how long a used ticket is remembered: longer than any is good.
const marksKept = 7 * 24 * time.Hour

// JetStreamMarks is Marks in a JetStream key-value bucket, "tickets".
type JetStreamMarks struct{ kv jetstream.KeyValue }

// OpenMarks creates the bucket, or takes it as it is.
func OpenMarks(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*JetStreamMarks, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("depot: open marks", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: "tickets", Description: "source tickets that were used", History: 1, TTL: marksKept, Storage: jetstream.FileStorage,
	}, stream.On(opts))
	return &JetStreamMarks{kv}, fault.New("depot: open marks", fault.Transient, err)
}

// Use implements Marks.
func (m *JetStreamMarks) Use(ctx context.Context, id scan.ID, attempt int) (first bool, err error) {
	_, err = m.kv.Create(ctx, mark(id, attempt), nil)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, fault.New("depot: mark a ticket", fault.Transient, err)
}

// Release implements Marks.
func (m *JetStreamMarks) Release(ctx context.Context, id scan.ID, attempt int) error {
	return fault.New("depot: release a ticket", fault.Transient, m.kv.Purge(ctx, mark(id, attempt)))
}

func mark(id scan.ID, attempt int) string { return fmt.Sprintf("%s.%d", id, attempt) }

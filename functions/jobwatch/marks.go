package jobwatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Bucket is the name of the key-value bucket of JetStreamMarks.
const Bucket = "exits"

// marksKept is longer than a run's record is kept: a record without a mark
// would be told again.
const marksKept = runs.MaxAge + 24*time.Hour

// Told is what is kept of an end that was told.
type Told struct {
	UID       string    `json:"uid,omitempty"`       // of the Job, "" if there was none
	Condition string    `json:"condition,omitempty"` // of the Job, "" if it did not end by itself
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
}

// MarkKey names an attempt. A Job's name does too, and its UID and condition
// follow from it: an attempt has one end.
func MarkKey(id scan.ID, attempt int) string { return fmt.Sprintf("%s.%d", id, attempt) }

// JetStreamMarks is Marks in a JetStream key-value bucket.
type JetStreamMarks struct{ kv jetstream.KeyValue }

// OpenMarks creates the bucket, or takes it as it is.
func OpenMarks(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*JetStreamMarks, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("jobwatch: open marks", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "attempts whose end was told", History: 1, TTL: marksKept, Storage: jetstream.FileStorage,
	}, stream.On(opts))
	return &JetStreamMarks{kv}, fault.New("jobwatch: open marks", fault.Transient, err)
}

// Has implements Marks.
func (m *JetStreamMarks) Has(ctx context.Context, id scan.ID, attempt int) (bool, error) {
	_, err := m.kv.Get(ctx, MarkKey(id, attempt))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, fault.New("jobwatch: look up mark", fault.Transient, err)
}

// Put implements Marks.
func (m *JetStreamMarks) Put(ctx context.Context, id scan.ID, attempt int, what Told) error {
	b, err := json.Marshal(what)
	if err != nil {
		return fault.New("jobwatch: mark", fault.Permanent, err)
	}
	_, err = m.kv.Put(ctx, MarkKey(id, attempt), b)
	return fault.New("jobwatch: mark", fault.Transient, err)
}

// All implements Marks.
func (m *JetStreamMarks) All(ctx context.Context) (map[string]bool, error) {
	keys, err := m.kv.ListKeys(ctx)
	if err != nil {
		return nil, fault.New("jobwatch: list marks", fault.Transient, err)
	}
	defer func() { _ = keys.Stop() }() // fails only on a closed connection
	all := map[string]bool{}
	for k := range keys.Keys() {
		all[k] = true
	}
	return all, fault.New("jobwatch: list marks", fault.Transient, ctx.Err())
}

// Package answers remembers which scan was asked for a content, whatever commit
// it came with, in a JetStream key-value bucket: so that the same content at
// another commit is answered from the scan that there was.
//
// Guarantees: what Remember acknowledged survives a killed process; nothing is
// said of results, which package results keeps.
package answers

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Bucket is the name of the key-value bucket.
const Bucket = "answers"

// Keep is how long a scan is remembered; results are kept no longer.
const Keep = 90 * 24 * time.Hour

// Store is the memory. It is safe for concurrent use, by several processes too.
type Store struct{ kv jetstream.KeyValue }

// Open creates the bucket, or takes it as it is.
func Open(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("answers: open", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{Bucket: Bucket, Description: "which scan is of which content",
		History: 1, TTL: Keep, Storage: jetstream.FileStorage}, stream.On(opts))
	return &Store{kv}, fault.New("answers: open", fault.Transient, err)
}

// Find returns the scan of a content, "" if none is remembered.
func (s *Store) Find(ctx context.Context, content scan.ID) (scan.ID, error) {
	e, err := s.kv.Get(ctx, string(content))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fault.New("answers: read", fault.Transient, err)
	}
	id, err := scan.ParseID(string(e.Value()))
	return id, fault.New("answers: read", fault.Permanent, err)
}

// Remember notes a content's scan; it takes the place of one before it.
func (s *Store) Remember(ctx context.Context, content, id scan.ID) error {
	_, err := s.kv.Put(ctx, string(content), []byte(id))
	return fault.New("answers: write", fault.Transient, err)
}

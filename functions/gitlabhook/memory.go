package gitlabhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// remembered is for how long a signed webhook must not come again: as long as
// its timestamp can pass.
const remembered = 2*SignatureWindow + time.Minute

// MaxRemembered bounds what a LocalMemory holds.
const MaxRemembered = 200_000

// Memory knows which signed webhooks were taken.
type Memory interface {
	// First notes a key and reports whether it is new. Errors are transient:
	// nobody can say, so the webhook must not be taken.
	First(ctx context.Context, key string) (bool, error)
	// Forget takes a note back, after the webhook was not taken after all.
	Forget(ctx context.Context, key string) error
}

// SharedMemory is a Memory in a JetStream key-value bucket, for several
// processes.
type SharedMemory struct{ kv jetstream.KeyValue }

var _ Memory = SharedMemory{}

// OpenMemory creates the bucket "webhooks", or takes it as it is.
func OpenMemory(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (SharedMemory, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return SharedMemory{}, fault.New("gitlabhook: open JetStream", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: "webhooks", Description: "signed webhooks that were taken", TTL: remembered, Storage: jetstream.FileStorage}, stream.On(opts))
	return SharedMemory{kv}, fault.New("gitlabhook: open memory", fault.Transient, err)
}

// First implements Memory.
func (m SharedMemory) First(ctx context.Context, key string) (bool, error) {
	_, err := m.kv.Create(ctx, key, nil)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, fault.New("gitlabhook: remember webhook", fault.Transient, err)
}

// Forget implements Memory.
func (m SharedMemory) Forget(ctx context.Context, key string) error {
	return fault.New("gitlabhook: forget webhook", fault.Transient, m.kv.Purge(ctx, key))
}

// LocalMemory is a Memory of one process. It holds at most MaxRemembered keys;
// while it is full, nothing new is taken.
type LocalMemory struct {
	now func() time.Time

	mu    sync.Mutex
	until map[string]time.Time
}

var _ Memory = (*LocalMemory)(nil)

// NewLocalMemory returns an empty memory.
func NewLocalMemory(now func() time.Time) *LocalMemory {
	return &LocalMemory{now: now, until: map[string]time.Time{}}
}

// First implements Memory.
func (m *LocalMemory) First(_ context.Context, key string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if until, ok := m.until[key]; ok && now.Before(until) {
		return false, nil
	}
	if len(m.until) >= MaxRemembered {
		for k, until := range m.until {
			if !now.Before(until) {
				delete(m.until, k)
			}
		}
	}
	if len(m.until) >= MaxRemembered {
		return false, fault.Errorf(fault.Transient, "gitlabhook: %d signed webhooks in %s, no more can be remembered", MaxRemembered, remembered)
	}
	m.until[key] = now.Add(remembered)
	return true, nil
}

// Forget implements Memory.
func (m *LocalMemory) Forget(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, key)
	return nil
}

package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Bucket is the key-value bucket of the queue.
const Bucket = "queue"

const (
	stateKey = "state"
	// keep is how long a record stays that nobody removes; the state itself is
	// written anew with each change.
	keep = 14 * 24 * time.Hour
	// conflictTries bounds the tries to change the state against other runners.
	conflictTries = 40
	// maxRecord bounds a record, in bytes: below what a NATS server takes.
	maxRecord = 900 << 10
)

// record is what starting an attempt needs beside its entry.
type record struct {
	Request     scan.Request            `json:"request"`
	Cause       string                  `json:"cause"` // ID of the event that asked
	Traceparent string                  `json:"traceparent,omitempty"`
	Tracestate  string                  `json:"tracestate,omitempty"`
	Packages    int                     `json:"packages"`
	Scripts     []finding.ScriptPackage `json:"scripts,omitempty"`
	Problems    []string                `json:"problems,omitempty"`
	Recipe      ecosystem.Recipe        `json:"recipe"` // with registryHere in place of the registry's address
}

// errNoRecord is returned (wrapped, fault.Permanent) for an entry whose record
// has gone.
var errNoRecord = errors.New("the queue has lost what the scan needs: ask for it again")

// values is what the store needs of a key-value bucket.
type values interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Purge(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error
}

var _ values = jetstream.KeyValue(nil)

// Queue is the durable queue, shared by all runners of a cluster.
type Queue struct {
	kv values
	mu sync.Mutex // so that one process does not conflict with itself
}

// OpenQueue creates the bucket, or takes it as it is.
func OpenQueue(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Queue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("runner: open queue", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "scans that wait for a sandbox or have one", History: 1, TTL: keep, Storage: jetstream.FileStorage, Compression: true,
	}, stream.On(opts))
	if err != nil {
		return nil, fault.New("runner: open queue", fault.Transient, err)
	}
	return &Queue{kv: kv}, nil
}

// read returns the state and its revision, 0 if there is none yet.
func (q *Queue) read(ctx context.Context) (state, uint64, error) {
	const op = "runner: read queue"
	var s state
	e, err := q.kv.Get(ctx, stateKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, fault.New(op, fault.Transient, err)
	}
	return s, e.Revision(), fault.New(op, fault.Transient, json.Unmarshal(e.Value(), &s))
}

// change applies f to the state and stores the outcome; f is called again if
// somebody else changed the state meanwhile, and reports whether it changed
// anything. The state returned is the one stored. Errors are transient, or f's.
func (q *Queue) change(ctx context.Context, f func(*state) (bool, error)) (state, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	const op = "runner: change queue"
	for try := range conflictTries {
		s, revision, err := q.read(ctx)
		if err != nil {
			return s, err
		}
		changed, err := f(&s)
		if err != nil || !changed {
			return s, err
		}
		value, err := json.Marshal(s)
		if err != nil {
			return s, fault.New(op, fault.Permanent, err)
		}
		if revision == 0 {
			_, err = q.kv.Create(ctx, stateKey, value)
		} else {
			_, err = q.kv.Update(ctx, stateKey, value, revision)
		}
		if !conflict(err) {
			return s, fault.New(op, fault.Transient, err)
		}
		select {
		case <-ctx.Done():
			return s, fault.New(op, fault.Transient, ctx.Err())
		case <-time.After(rand.N(time.Duration(min(try, 10)+1) * time.Millisecond)):
		}
	}
	return state{}, fault.Errorf(fault.Transient, "%s: too many runners at once", op)
}

func key(id scan.ID, attempt int) string { return fmt.Sprintf("scan.%s.%d", id, attempt) }

// put stores an attempt's record. One that is too large is fault.TooLarge.
func (q *Queue) put(ctx context.Context, attempt int, r record) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fault.New("runner: store the scan's record", fault.Permanent, err)
	}
	if len(value) > maxRecord {
		return fault.Errorf(fault.TooLarge, "runner: what starting the scan needs takes %d bytes, at most %d are kept", len(value), maxRecord)
	}
	_, err = q.kv.Put(ctx, key(r.Request.ID, attempt), value)
	return fault.New("runner: store the scan's record", fault.Transient, err)
}

// get returns an attempt's record, or errNoRecord.
func (q *Queue) get(ctx context.Context, id scan.ID, attempt int) (record, error) {
	const op = "runner: read the scan's record"
	var r record
	e, err := q.kv.Get(ctx, key(id, attempt))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return r, fault.New(op, fault.Permanent, errNoRecord)
	}
	if err != nil {
		return r, fault.New(op, fault.Transient, err)
	}
	return r, fault.New(op, fault.Permanent, json.Unmarshal(e.Value(), &r))
}

// forget removes an attempt's record. One that stays behind expires.
func (q *Queue) forget(ctx context.Context, id scan.ID, attempt int) error {
	return fault.New("runner: remove the scan's record", fault.Transient, q.kv.Purge(ctx, key(id, attempt)))
}

// conflict reports whether the server refused a write because of its version.
func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

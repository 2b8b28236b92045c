// Package stream opens the JetStream streams, key-value buckets and object
// stores that several functions share.
//
// Guarantees: what is missing is created, with the replicas asked for; what is
// there is taken as it is by everybody but its owner. The owner changes what
// differs from what it asks for, and nothing if nothing does: it raises the
// number of replicas but never lowers it, and leaves alone what it does not ask
// about (placement, metadata). So functions that start in any order, with any
// settings, don't undo each other's, a guest needs no permission to update, and
// opening what is there asks the server one question (the owner of a bucket,
// two).
package stream

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Terms are on which a store is opened.
type Terms struct {
	// Replicas is on how many servers it is kept; 0 means 1.
	Replicas int
	// Guest takes what is there as it is, whatever it was created with.
	Guest bool
}

// Option changes the terms: one server, as the owner.
type Option func(*Terms)

// Replicas says on how many servers a store is kept.
func Replicas(n int) Option { return func(t *Terms) { t.Replicas = n } }

// Guest is for whoever uses a store of another function.
func Guest() Option { return func(t *Terms) { t.Guest = true } }

// On applies options.
func On(opts []Option) Terms {
	var t Terms
	for _, o := range opts {
		o(&t)
	}
	return t
}

// noPeers is the server's code for a cluster that has not enough servers at the
// moment.
const noPeers jetstream.ErrorCode = 10005

func unplaced(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == noPeers
}

// Open opens a stream; c.Replicas is ignored. Errors are fault.Transient, but
// fault.Permanent where the server refuses the configuration.
func Open(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig, t Terms) (jetstream.Stream, error) {
	c.Replicas = max(t.Replicas, 1)
	s, err := opened(ctx,
		func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, c.Name) },
		func(ctx context.Context) (jetstream.Stream, error) { return js.CreateStream(ctx, c) })
	if err == nil && !t.Guest {
		have := s.CachedInfo().Config
		want := have
		want.Subjects, want.Description, want.Retention = c.Subjects, c.Description, c.Retention
		want.Discard, want.DiscardNewPerSubject, want.AllowDirect = c.Discard, c.DiscardNewPerSubject, c.AllowDirect
		want.MaxMsgsPerSubject, want.MaxBytes, want.MaxAge = limit(c.MaxMsgsPerSubject), limit(c.MaxBytes), c.MaxAge
		if c.Duplicates != 0 {
			want.Duplicates = c.Duplicates
		}
		want.Compression, want.Replicas = c.Compression, max(have.Replicas, c.Replicas)
		if !reflect.DeepEqual(have, want) {
			s, err = shown(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.UpdateStream(ctx, want) })
		}
	}
	return s, kind("open stream "+c.Name, err)
}

// KeyValue opens a key-value bucket; c.Replicas is ignored. Errors are as Open's.
func KeyValue(ctx context.Context, js jetstream.JetStream, c jetstream.KeyValueConfig, t Terms) (jetstream.KeyValue, error) {
	c.Replicas = max(t.Replicas, 1)
	kv, err := opened(ctx,
		func(ctx context.Context) (jetstream.KeyValue, error) { return js.KeyValue(ctx, c.Bucket) },
		func(ctx context.Context) (jetstream.KeyValue, error) { return js.CreateKeyValue(ctx, c) })
	if err == nil && !t.Guest {
		err = settle(ctx, js, "KV_"+c.Bucket, func(s *jetstream.StreamConfig) {
			s.Description, s.MaxAge, s.MaxBytes, s.MaxMsgsPerSubject = c.Description, c.TTL, limit(c.MaxBytes), int64(max(c.History, 1))
			s.Compression, s.Replicas = compression(c.Compression), max(s.Replicas, c.Replicas)
		})
	}
	return kv, kind("open bucket "+c.Bucket, err)
}

// Objects opens an object store; c.Replicas is ignored. Errors are as Open's.
func Objects(ctx context.Context, js jetstream.JetStream, c jetstream.ObjectStoreConfig, t Terms) (jetstream.ObjectStore, error) {
	c.Replicas = max(t.Replicas, 1)
	o, err := opened(ctx,
		func(ctx context.Context) (jetstream.ObjectStore, error) { return js.ObjectStore(ctx, c.Bucket) },
		func(ctx context.Context) (jetstream.ObjectStore, error) { return js.CreateObjectStore(ctx, c) })
	if err == nil && !t.Guest {
		err = settle(ctx, js, "OBJ_"+c.Bucket, func(s *jetstream.StreamConfig) {
			s.Description, s.MaxAge, s.MaxBytes = c.Description, c.TTL, limit(c.MaxBytes)
			s.Compression, s.Replicas = compression(c.Compression), max(s.Replicas, c.Replicas)
		})
	}
	return o, kind("open object store "+c.Bucket, err)
}

// Somebody else may create the same store at the same time: for a moment a
// cluster then refuses it as taken, does not show it yet, or answers nothing at
// all, since it has no leader. One that has just started may not know all its
// servers.
const (
	lookPause = 50 * time.Millisecond
	looks     = 40
	answer    = time.Second // that the first question waits; each further twice as long
	questions = 4
)

// asked repeats a question that nobody answers. All of them may be repeated.
func asked[S any](ctx context.Context, question func(context.Context) (S, error)) (s S, err error) {
	for n := range questions {
		bounded, cancel := context.WithTimeout(ctx, answer<<n)
		s, err = question(bounded)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			break
		}
	}
	return s, err
}

// opened looks, and creates what is missing, until it is there.
func opened[S any](ctx context.Context, look, create func(context.Context) (S, error)) (s S, err error) {
	for range looks {
		s, err = asked(ctx, look)
		if !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrBucketNotFound) {
			return s, err
		}
		if s, err = asked(ctx, create); !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && !unplaced(err) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(lookPause):
		}
	}
	return s, err
}

// shown asks about what was found or created just now, which the server that
// answers may not know of yet.
func shown[S any](ctx context.Context, question func(context.Context) (S, error)) (s S, err error) {
	for range looks {
		if s, err = asked(ctx, question); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(lookPause):
		}
	}
	return s, err
}

// settle brings a bucket's stream to what its owner wants.
func settle(ctx context.Context, js jetstream.JetStream, name string, apply func(*jetstream.StreamConfig)) error {
	s, err := shown(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, name) })
	if err != nil {
		return err
	}
	have := s.CachedInfo().Config
	want := have
	if apply(&want); reflect.DeepEqual(have, want) {
		return nil
	}
	_, err = shown(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.UpdateStream(ctx, want) })
	return err
}

// limit is how the server shows one that was not set.
func limit(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func compression(on bool) jetstream.StoreCompression {
	if on {
		return jetstream.S2Compression
	}
	return jetstream.NoCompression
}

func kind(op string, err error) error {
	kind := fault.Transient
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 && !unplaced(err) && api.ErrorCode != jetstream.JSErrCodeStreamNameInUse {
		kind = fault.Permanent
	}
	return fault.New(op, kind, err)
}

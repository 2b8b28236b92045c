// Package runs keeps what is known of a scan's latest attempt before its Job is
// created, one record a scan, in a JetStream key-value bucket. Whoever sees the
// Job end (jobwatch) or its system calls (the sensor) learns from here which
// scan it was.
//
// Guarantees: what Put acknowledged survives a killed process; an older attempt
// never replaces a newer one, and one that was given up stays so, whoever
// writes and in whatever order; a record outlives its Job by far, and goes by
// itself after MaxAge.
package runs

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Bucket is the name of the key-value bucket.
const Bucket = "runs"

// MaxAge is how long a record is kept that nothing changes.
const MaxAge = 7 * 24 * time.Hour

// conflictTries bounds the tries to write against other writers.
const conflictTries = 10

var (
	// ErrNotFound is returned (wrapped, fault.Permanent) by Get for a scan of
	// which no attempt is known.
	ErrNotFound = errors.New("no run of the scan is known")
	// ErrNewer is returned (wrapped, fault.Permanent) by Put when a later
	// attempt is stored.
	ErrNewer = errors.New("a later attempt of the scan is known")
)

// Store is the record store. It is safe for concurrent use.
type Store struct{ kv jetstream.KeyValue }

// Open creates the bucket, or takes it as it is.
func Open(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("runs: open", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "the latest attempt of each scan", History: 1, TTL: MaxAge, Storage: jetstream.FileStorage, Compression: true,
	}, stream.On(opts))
	if err != nil {
		return nil, fault.New("runs: open", fault.Transient, err)
	}
	return &Store{kv}, nil
}

// Put stores a scan's attempt in place of the same or an earlier one. Lists
// longer than their limits are cut, and Problems says so. The error is
// fault.Invalid for a record without scan or attempt, ErrNewer for an attempt
// that is not the latest, and fault.Transient otherwise.
func (s *Store) Put(ctx context.Context, r Run) error {
	op := "runs: put scan " + string(r.Request.ID)
	if _, err := scan.ParseID(string(r.Request.ID)); err != nil || r.Attempt < 1 {
		return fault.Errorf(fault.Invalid, "runs: a record of scan %.40q, attempt %d", r.Request.ID, r.Attempt)
	}
	r = r.bounded()
	for range conflictTries {
		stored, revision, err := s.get(ctx, r.Request.ID)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil && stored.Attempt > r.Attempt:
			return fault.New(op, fault.Permanent, ErrNewer)
		case err == nil && stored.Attempt == r.Attempt && r.GivenUp == "":
			r.GivenUp = stored.GivenUp
		}
		value, err := json.Marshal(r)
		if err != nil {
			return fault.New(op, fault.Permanent, err)
		}
		if revision == 0 {
			_, err = s.kv.Create(ctx, string(r.Request.ID), value)
		} else {
			_, err = s.kv.Update(ctx, string(r.Request.ID), value, revision)
		}
		if !conflict(err) {
			return fault.New(op, fault.Transient, err)
		}
	}
	return fault.Errorf(fault.Transient, "%s: too many writers at once", op)
}

// Get returns a scan's latest attempt, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id scan.ID) (Run, error) {
	r, _, err := s.get(ctx, id)
	return r, err
}

// get returns the record's revision too, 0 if there is none.
func (s *Store) get(ctx context.Context, id scan.ID) (Run, uint64, error) {
	if _, err := scan.ParseID(string(id)); err != nil {
		return Run{}, 0, fault.New("runs: get", fault.Invalid, err)
	}
	op := "runs: get scan " + string(id)
	e, err := s.kv.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Run{}, 0, fault.New(op, fault.Permanent, ErrNotFound)
	}
	if err != nil {
		return Run{}, 0, fault.New(op, fault.Transient, err)
	}
	var r Run
	err = json.Unmarshal(e.Value(), &r)
	return r, e.Revision(), fault.New(op, fault.Permanent, err)
}

// Delete forgets a scan's attempts; none is no error.
func (s *Store) Delete(ctx context.Context, id scan.ID) error {
	if _, err := scan.ParseID(string(id)); err != nil {
		return fault.New("runs: delete", fault.Invalid, err)
	}
	return fault.New("runs: delete scan "+string(id), fault.Transient, s.kv.Purge(ctx, string(id)))
}

// List returns all records, in no order; what can't be read is left out.
func (s *Store) List(ctx context.Context) ([]Run, error) {
	const op = "runs: list"
	w, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fault.New(op, fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	var list []Run
	for {
		select {
		case <-ctx.Done():
			return nil, fault.New(op, fault.Transient, ctx.Err())
		case e, open := <-w.Updates():
			if !open {
				return nil, fault.New(op, fault.Transient, errors.New("the watch ended"))
			}
			if e == nil {
				return list, nil // that was all
			}
			var r Run
			if json.Unmarshal(e.Value(), &r) == nil {
				list = append(list, r)
			}
		}
	}
}

// conflict reports whether the server refused a write because of its version.
func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Package results keeps the results of scans, one a scan, in a JetStream
// key-value bucket.
//
// Guarantees: revisions of a scan's result follow each other without gap or
// branch, whoever writes; what Put acknowledged survives a killed process; a
// result is stored before anybody hears of it.
package results

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// ErrNotFound is returned (wrapped, fault.Permanent) by Get for a scan without
// a result.
var ErrNotFound = errors.New("the scan has no result")

// ErrConflict is returned (wrapped, fault.Transient) by Put when the revision
// doesn't follow the one that is stored.
var ErrConflict = errors.New("the result was changed meanwhile")

// Config configures a Store. Zero values mean the defaults named.
type Config struct {
	Replicas int           // 1
	MaxAge   time.Duration // 90 days
	Guest    bool          // it is another function's store: take it as it is
}

// Store is the result store. It is safe for concurrent use.
type Store struct{ kv jetstream.KeyValue }

// Open creates the bucket, or takes it as it is.
func Open(ctx context.Context, nc *nats.Conn, c Config) (*Store, error) {
	if c.MaxAge == 0 {
		c.MaxAge = 90 * 24 * time.Hour
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("results: open", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: "results", History: 1, TTL: c.MaxAge, Storage: jetstream.FileStorage, Compression: true,
	}, stream.Terms{Replicas: c.Replicas, Guest: c.Guest})
	if err != nil {
		return nil, fault.New("results: open", fault.Transient, err)
	}
	return &Store{kv}, nil
}

// Get returns a scan's latest result, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id scan.ID) (finding.Result, error) {
	r, _, err := s.get(ctx, id)
	return r, err
}

func (s *Store) get(ctx context.Context, id scan.ID) (finding.Result, uint64, error) {
	op := "results: get scan " + string(id)
	if _, err := scan.ParseID(string(id)); err != nil {
		return finding.Result{}, 0, fault.New("results: get", fault.Invalid, err)
	}
	e, err := s.kv.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return finding.Result{}, 0, fault.New(op, fault.Permanent, ErrNotFound)
	}
	if err != nil {
		return finding.Result{}, 0, fault.New(op, fault.Transient, err)
	}
	r, err := decode(e)
	return r, e.Revision(), err
}

func decode(e jetstream.KeyValueEntry) (finding.Result, error) {
	var r finding.Result
	err := json.Unmarshal(e.Value(), &r)
	return r, fault.New("results: read result of scan "+e.Key(), fault.Permanent, err)
}

// Finished reports whether the scan has a result. Errors are transient.
func (s *Store) Finished(ctx context.Context, id scan.ID) (bool, error) {
	_, err := s.kv.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, fault.New("results: look up scan "+string(id), fault.Transient, err)
}

// Put stores a result. Its revision is 1 for the first one and one more than
// the stored one's else; ErrConflict if not.
func (s *Store) Put(ctx context.Context, r finding.Result) error {
	op := "results: put scan " + string(r.ScanID)
	value, err := json.Marshal(r)
	if err != nil {
		return fault.New(op, fault.Permanent, err)
	}
	if r.Revision == 1 {
		_, err = s.kv.Create(ctx, string(r.ScanID), value)
	} else {
		stored, version, gerr := s.get(ctx, r.ScanID)
		if gerr != nil {
			return gerr
		}
		if stored.Revision != r.Revision-1 {
			return fault.New(op, fault.Transient, ErrConflict)
		}
		_, err = s.kv.Update(ctx, string(r.ScanID), value, version)
	}
	var api *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) || (errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence) {
		err = ErrConflict
	}
	return fault.New(op, fault.Transient, err)
}

// List calls fn with each scan's latest result, oldest first, until fn returns
// false. A result that can't be read is an error.
func (s *Store) List(ctx context.Context, fn func(finding.Result) bool) error {
	w, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fault.New("results: list", fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	return each(ctx, w, false, fn)
}

// Watch calls fn with a scan's latest result, if there is one, and with every
// later revision, until fn returns false or ctx ends; then its error is
// ctx's. An empty id watches all scans.
func (s *Store) Watch(ctx context.Context, id scan.ID, fn func(finding.Result) bool) error {
	key := string(id)
	if id == "" {
		key = ">"
	} else if _, err := scan.ParseID(key); err != nil {
		return fault.New("results: watch", fault.Invalid, err)
	}
	w, err := s.kv.Watch(ctx, key, jetstream.IgnoreDeletes())
	if err != nil {
		return fault.New("results: watch", fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	return each(ctx, w, true, fn)
}

// each reads a watch up to the end of what was stored when it began, or on.
func each(ctx context.Context, w jetstream.KeyWatcher, on bool, fn func(finding.Result) bool) error {
	for {
		select {
		case <-ctx.Done():
			return fault.New("results: watch", fault.Transient, ctx.Err())
		case e, open := <-w.Updates():
			if !open {
				return fault.New("results: watch", fault.Transient, errors.New("the watch ended"))
			}
			if e == nil {
				if on {
					continue
				}
				return nil
			}
			r, err := decode(e)
			if err != nil {
				return err
			}
			if !fn(r) {
				return nil
			}
		}
	}
}

// Package kv keeps the states of scans in JetStream's key-value buckets.
//
// Guarantees: a state is replaced only by whoever read its latest version; what
// Save acknowledged survives a killed process; a scan that is due is found by
// Overdue although the process that saved it is gone (the due time is written
// before the state and removed after it).
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Config configures a Store. Zero values mean the defaults named.
type Config struct {
	Replicas int           // 1
	MaxAge   time.Duration // of a state that nothing changes: 30 days
	// ReportedFor is how long a runtime alert is remembered as reported: 1 day.
	ReportedFor time.Duration
}

// Store implements correlate.Store.
type Store struct{ states, due, reported jetstream.KeyValue }

var _ correlate.Store = (*Store)(nil)

// Open creates the buckets, or takes them as they are.
func Open(ctx context.Context, nc *nats.Conn, c Config) (*Store, error) {
	if c.MaxAge == 0 {
		c.MaxAge = 30 * 24 * time.Hour
	}
	if c.ReportedFor == 0 {
		c.ReportedFor = 24 * time.Hour
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("correlate: open states", fault.Permanent, err)
	}
	s := &Store{}
	for _, b := range []struct {
		to   *jetstream.KeyValue
		name string
		ttl  time.Duration
	}{{&s.states, "scans", c.MaxAge}, {&s.due, "scans-due", c.MaxAge}, {&s.reported, "runtime-reported", c.ReportedFor}} {
		*b.to, err = stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
			Bucket: b.name, TTL: b.ttl, History: 1, Storage: jetstream.FileStorage,
		}, stream.Terms{Replicas: c.Replicas})
		if err != nil {
			return nil, fault.New("correlate: open bucket "+b.name, fault.Transient, err)
		}
	}
	return s, nil
}

// Load implements correlate.Store.
func (s *Store) Load(ctx context.Context, id scan.ID) (correlate.State, uint64, error) {
	state := correlate.State{ScanID: id}
	e, err := s.states.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return state, 0, nil
	}
	if err != nil {
		return state, 0, fault.New("correlate: load scan "+string(id), fault.Transient, err)
	}
	if err := json.Unmarshal(e.Value(), &state); err != nil {
		return state, 0, fault.New("correlate: read state of scan "+string(id), fault.Permanent, err)
	}
	return state, e.Revision(), nil
}

// Save implements correlate.Store.
func (s *Store) Save(ctx context.Context, state correlate.State, version uint64, due time.Time) error {
	key := string(state.ScanID)
	op := "correlate: save scan " + key
	value, err := json.Marshal(state)
	if err != nil {
		return fault.New(op, fault.Permanent, err)
	}
	if !due.IsZero() {
		if _, err := s.due.PutString(ctx, key, due.UTC().Format(time.RFC3339Nano)); err != nil {
			return fault.New(op, fault.Transient, err)
		}
	}
	if version == 0 {
		_, err = s.states.Create(ctx, key, value)
	} else {
		_, err = s.states.Update(ctx, key, value, version)
	}
	if conflict(err) {
		return fault.New(op, fault.Transient, correlate.ErrConflict)
	}
	if err == nil && due.IsZero() {
		err = s.settle(ctx, key)
	}
	return fault.New(op, fault.Transient, err)
}

// settle removes a due time, without leaving a trace if there was none.
func (s *Store) settle(ctx context.Context, key string) error {
	if _, err := s.due.Get(ctx, key); err != nil {
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		return err
	}
	return s.due.Purge(ctx, key)
}

// conflict reports whether the server refused a write because of its version.
func conflict(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Overdue implements correlate.Store.
func (s *Store) Overdue(ctx context.Context, now time.Time) ([]scan.ID, error) {
	const op = "correlate: look for overdue scans"
	w, err := s.due.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fault.New(op, fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	var ids []scan.ID
	for {
		select {
		case <-ctx.Done():
			return nil, fault.New(op, fault.Transient, ctx.Err())
		case e, open := <-w.Updates():
			if !open {
				return nil, fault.New(op, fault.Transient, errors.New("the watch ended"))
			}
			if e == nil {
				return ids, nil // that was all
			}
			at, err := time.Parse(time.RFC3339Nano, string(e.Value()))
			if err != nil {
				return nil, fault.New(op, fault.Permanent, fmt.Errorf("scan %s: %w", e.Key(), err))
			}
			if !now.Before(at) {
				ids = append(ids, scan.ID(e.Key()))
			}
		}
	}
}

// Reported implements correlate.Store.
func (s *Store) Reported(ctx context.Context, digest string) (bool, error) {
	_, err := s.reported.Get(ctx, digest)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, fault.New("correlate: look up runtime alert", fault.Transient, err)
}

// Report implements correlate.Store.
func (s *Store) Report(ctx context.Context, digest string) error {
	_, err := s.reported.Put(ctx, digest, nil)
	return fault.New("correlate: remember runtime alert", fault.Transient, err)
}

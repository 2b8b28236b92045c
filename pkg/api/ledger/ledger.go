// Package ledger remembers what became of each scan, as events tell it: asked
// for, running, finished, rejected. (Results are in package results.)
//
// Guarantees: an event is taken in once its record is durable; events may come
// twice and in any order, and leave the same record.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Status says how far a scan is.
type Status string

// The states of a scan. Finished and Rejected are final, except that a scan
// that was rejected may be asked for again.
const (
	Pending  Status = "pending"
	Running  Status = "running"
	Finished Status = "finished"
	Rejected Status = "rejected"
)

// Final reports whether nothing more will happen to the scan by itself.
func (s Status) Final() bool { return s == Finished || s == Rejected }

// Record is what is known of a scan.
type Record struct {
	ID        scan.ID         `json:"scan_id"`
	Status    Status          `json:"status"`
	Project   string          `json:"project,omitempty"`
	Ref       string          `json:"ref,omitempty"`
	Commit    string          `json:"commit,omitempty"`
	Root      string          `json:"root,omitempty"`
	Manager   string          `json:"manager,omitempty"`
	Requested time.Time       `json:"requested,omitzero"`
	Started   time.Time       `json:"started,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"` // finished or rejected
	Attempt   int             `json:"attempt,omitempty"`
	Verdict   finding.Verdict `json:"verdict,omitempty"`
	Revision  int             `json:"revision,omitempty"`
	Reason    string          `json:"reason,omitempty"` // why it was rejected
}

// ErrUnknown is wrapped where nothing is known of a scan. It is
// fault.Permanent.
var ErrUnknown = errors.New("no such scan")

// Config says how long the ledger remembers.
type Config struct {
	Keep     time.Duration // since the last change; 0 means for ever
	Replicas int           // copies in a cluster; 0 means 1
}

// bucket is the key-value bucket's name.
const bucket = "scan-ledger"

// Ledger is a ledger in a JetStream key-value bucket. It is safe for
// concurrent use, by several processes too.
type Ledger struct {
	scans  jetstream.KeyValue
	stream jetstream.Stream // of scans, for its order
}

// Open opens the ledger, creating its bucket where there is none.
func Open(ctx context.Context, js jetstream.JetStream, c Config) (*Ledger, error) {
	scans, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "what became of each scan", TTL: c.Keep, Storage: jetstream.FileStorage,
	}, stream.Terms{Replicas: c.Replicas})
	if err != nil {
		return nil, fault.New("ledger: open", fault.Transient, err)
	}
	ordered, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return nil, fault.New("ledger: open", fault.Transient, err)
	}
	return &Ledger{scans: scans, stream: ordered}, nil
}

// Get returns a scan's record; ErrUnknown if there is none.
func (l *Ledger) Get(ctx context.Context, id scan.ID) (Record, error) {
	rec, _, err := l.load(ctx, id)
	return rec, err
}

// load reads a record and its revision in the bucket.
func (l *Ledger) load(ctx context.Context, id scan.ID) (rec Record, revision uint64, err error) {
	e, err := l.scans.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return rec, 0, fault.New("ledger", fault.Permanent, ErrUnknown)
	}
	if err != nil {
		return rec, 0, fault.New("ledger: read", fault.Transient, err)
	}
	err = json.Unmarshal(e.Value(), &rec)
	return rec, e.Revision(), fault.New("ledger: decode "+string(id), fault.Permanent, err)
}

// tries bounds how often a change that lost a race is made anew.
const tries = 20

// change applies f to a scan's record, which is empty if there is none yet. A
// record that f leaves as it is isn't written.
func (l *Ledger) change(ctx context.Context, id scan.ID, f func(*Record)) error {
	id, err := scan.ParseID(string(id)) // it becomes a key
	if err != nil {
		return fault.New("ledger", fault.Invalid, err)
	}
	for range tries {
		old, revision, err := l.load(ctx, id)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
		rec := old
		rec.ID = id
		if f(&rec); rec == old {
			return nil
		}
		if err := l.save(ctx, rec, revision); !lostRace(err) {
			return fault.New("ledger: write", fault.Transient, err)
		}
	}
	return fault.Errorf(fault.Transient, "ledger: %s changes too often", id)
}

// save writes a record unless it is no longer at the revision.
func (l *Ledger) save(ctx context.Context, rec Record, revision uint64) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = l.scans.Create(ctx, string(rec.ID), b)
	} else {
		_, err = l.scans.Update(ctx, string(rec.ID), b, revision)
	}
	return err
}

// lostRace reports whether a write failed because another came first.
func lostRace(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

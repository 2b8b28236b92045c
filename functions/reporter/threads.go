package reporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// threadsKept is how long a merge request is remembered after its last report.
// After that its discussion is found again by its marker.
const threadsKept = 180 * 24 * time.Hour

// conflictTries bounds the tries to change an entry against other reporters.
const conflictTries = 20

// thread is what is remembered of a merge request: what its discussion is to
// show, and which it is.
type thread struct {
	Discussion string    `json:"discussion,omitempty"` // "" while there is none
	Note       int64     `json:"note,omitempty"`
	State      string    `json:"state,omitempty"`  // "open" or "resolved", as we left it; "" if it has to be set
	Claimed    time.Time `json:"claimed,omitzero"` // until when somebody else is opening it
	Sections   []section `json:"sections"`
}

// section is one project root of a merge request, and the newest scan of it.
type section struct {
	Root     string          `json:"root"`
	Manager  string          `json:"manager"`
	Commit   string          `json:"commit"`
	ScanID   scan.ID         `json:"scan_id,omitempty"`
	Revision int             `json:"revision,omitempty"` // 0 for a rejection
	Verdict  finding.Verdict `json:"verdict"`
	Rejected string          `json:"rejected,omitempty"`
}

// baseline is the newest good scan of a branch's project root.
type baseline struct {
	ScanID   scan.ID   `json:"scan_id"`
	Finished time.Time `json:"finished"`
}

// memory keeps threads and baselines in a JetStream key-value bucket. Whoever
// changes an entry does so on top of what it read.
type memory struct{ kv jetstream.KeyValue }

// openMemory creates the bucket "merge-requests", or takes it as it is.
func openMemory(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (memory, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return memory{}, fault.New("reporter: open JetStream", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: "merge-requests", Description: "discussions of merge requests, and what branches are compared with",
		History: 1, TTL: threadsKept, Storage: jetstream.FileStorage}, stream.On(opts))
	return memory{kv}, fault.New("reporter: open memory", fault.Transient, err)
}

// key makes a key of parts that nobody vouches for.
func key(kind string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // a hash never fails to write
	}
	return kind + "." + hex.EncodeToString(h.Sum(nil))
}

// load returns an entry and its version; the zero T and 0 for none.
func load[T any](ctx context.Context, m memory, key string) (v T, version uint64, err error) {
	e, err := m.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, fault.New("reporter: read memory", fault.Transient, err)
	}
	return v, e.Revision(), fault.New("reporter: read memory", fault.Permanent, json.Unmarshal(e.Value(), &v))
}

// change changes an entry with fn until it does not collide with another; fn
// reports whether there is anything to change. It returns the entry and its
// version.
func change[T any](ctx context.Context, m memory, key string, fn func(*T) bool) (v T, version uint64, err error) {
	for range conflictTries {
		v, version, err = load[T](ctx, m, key)
		if err != nil || !fn(&v) {
			return v, version, err
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return v, 0, fault.New("reporter: encode memory", fault.Permanent, err)
		}
		if version == 0 {
			version, err = m.kv.Create(ctx, key, raw) // also where one was deleted
		} else {
			version, err = m.kv.Update(ctx, key, raw, version)
		}
		if err == nil {
			return v, version, nil
		}
		var api *jetstream.APIError
		if !errors.Is(err, jetstream.ErrKeyExists) && (!errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence) {
			return v, 0, fault.New("reporter: change memory", fault.Transient, err)
		}
	}
	return v, 0, fault.Errorf(fault.Transient, "reporter: too many change one merge request at once")
}

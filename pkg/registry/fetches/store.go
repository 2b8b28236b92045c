package fetches

import (
	"context"
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

// Bucket is the name of the key-value bucket.
const Bucket = "fetches"

// Keep is how long a log is kept that nothing is added to.
const Keep = 3 * 24 * time.Hour

// partSize is how many fetches one value holds: a log is longer than a message
// of a NATS server may be.
const partSize = 1000

// Record is a stored log with what its owner has to know to go on with it.
type Record struct {
	Log
	Requests int64 // answered so far
	Bytes    int64 // sent so far
	// Open says that the owner had requests under way that this log may lack.
	Open bool
}

// head is the value of a log's own key; its fetches stand in parts.
type head struct {
	Stored   int      `json:"stored"` // fetches in parts
	Unlisted int      `json:"unlisted"`
	Problems []string `json:"problems,omitempty"`
	Requests int64    `json:"requests"`
	Bytes    int64    `json:"bytes"`
	Open     bool     `json:"open"`
}

// Store keeps logs in a JetStream key-value bucket. Each log has one writer at a
// time.
type Store struct{ kv jetstream.KeyValue }

// Open creates the bucket, or takes it as it is.
func Open(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("fetches: open", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "what each scan fetched from the registry", History: 1, TTL: Keep, Storage: jetstream.FileStorage, Compression: true,
	}, stream.On(opts))
	if err != nil {
		return nil, fault.New("fetches: open", fault.Transient, err)
	}
	return &Store{kv}, nil
}

func key(id scan.ID, attempt int) string { return fmt.Sprintf("%s.%d", id, attempt) }

func part(id scan.ID, attempt, n int) string { return fmt.Sprintf("%s.%d.%d", id, attempt, n) }

// Load returns a stored log, an empty one if there is none. Errors are
// transient.
func (s *Store) Load(ctx context.Context, id scan.ID, attempt int) (Record, error) {
	var h head
	if err := s.get(ctx, key(id, attempt), &h); err != nil {
		return Record{}, err
	}
	r := Record{Log: Log{Unlisted: h.Unlisted, Problems: h.Problems}, Requests: h.Requests, Bytes: h.Bytes, Open: h.Open}
	for n := 0; n*partSize < h.Stored; n++ {
		var list []finding.Fetch
		if err := s.get(ctx, part(id, attempt, n), &list); err != nil {
			return Record{}, err
		}
		r.Fetches = append(r.Fetches, list...)
	}
	if missing := h.Stored - len(r.Fetches); missing > 0 {
		r.Unlisted += missing
		return r, nil
	}
	r.Fetches = r.Fetches[:h.Stored] // a part was written whose head was not
	return r, nil
}

func (s *Store) get(ctx context.Context, key string, into any) error {
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fault.New("fetches: load "+key, fault.Transient, err)
	}
	return fault.New("fetches: load "+key, fault.Permanent, json.Unmarshal(e.Value(), into))
}

// Save stores a log, of which the first unchanged fetches are stored already.
// Errors are transient and leave what was stored before readable.
func (s *Store) Save(ctx context.Context, id scan.ID, attempt, unchanged int, r Record) error {
	list := r.Fetches
	if n := len(list) - MaxFetches; n > 0 {
		list, r.Unlisted = list[:MaxFetches], r.Unlisted+n
	}
	for n := min(unchanged, len(list)) / partSize; n*partSize < len(list); n++ {
		chunk := list[n*partSize : min((n+1)*partSize, len(list))]
		out := make([]finding.Fetch, len(chunk))
		for i, f := range chunk {
			out[i] = bounded(f)
		}
		if err := s.put(ctx, part(id, attempt, n), out); err != nil {
			return err
		}
	}
	problems := []string{}
	for _, p := range r.Problems {
		problems = AddProblem(problems, p)
	}
	return s.put(ctx, key(id, attempt), head{Stored: len(list), Unlisted: r.Unlisted, Problems: problems, Requests: r.Requests, Bytes: r.Bytes, Open: r.Open})
}

func (s *Store) put(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.New("fetches: save "+key, fault.Permanent, err)
	}
	_, err = s.kv.Put(ctx, key, b)
	return fault.New("fetches: save "+key, fault.Transient, err)
}

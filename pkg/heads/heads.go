// Package heads remembers up to which commit each branch of a project was looked
// at, in a JetStream key-value bucket, so that a push that nobody told of can be
// noticed; and which scans each branch was at, so that there is something to
// compare later ones with.
//
// Guarantees: a later push is never replaced by what was known of an earlier
// one, whoever writes; names from a forge are hashed before they become keys;
// what Note acknowledged survives a killed process.
package heads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Bucket is the name of the key-value bucket.
const Bucket = "heads"

// Head is how far a branch was looked at.
type Head struct {
	Project string    `json:"project"`
	Ref     string    `json:"ref"`
	SHA     string    `json:"sha"` // "" as long as nothing was
	At      time.Time `json:"at"`  // when the forge told of SHA

	// What a reconcile pass asked for since then, and how often.
	Asked   string    `json:"asked,omitempty"` // commit
	AskedAt time.Time `json:"asked_at,omitzero"`
	Asks    int       `json:"asks,omitempty"`
}

// Project is a project of which pushes were heard.
type Project struct {
	Path string `json:"path"`
	// Based says that all its branches were noted once, so that a branch that is
	// not known is a new one.
	Based bool `json:"based,omitempty"`
}

// Store is the memory. It is safe for concurrent use, by several processes too.
type Store struct{ kv jetstream.KeyValue }

// Open creates the bucket, or takes it as it is.
func Open(ctx context.Context, nc *nats.Conn, opts ...stream.Option) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("heads: open", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{Bucket: Bucket, Description: "how far each branch was looked at",
		History: 1, Storage: jetstream.FileStorage}, stream.On(opts))
	return &Store{kv}, fault.New("heads: open", fault.Transient, err)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func headKey(project, ref string) string { return hash(project) + ".h" + hash(ref) }
func projectKey(project string) string   { return hash(project) + ".p" }

// Get returns what is known of a branch; ok is false if nothing is.
func (s *Store) Get(ctx context.Context, project, ref string) (h Head, ok bool, err error) {
	_, err = s.load(ctx, headKey(project, ref), &h)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Head{}, false, nil
	}
	return h, err == nil, fault.New("heads: read", fault.Transient, err)
}

func (s *Store) load(ctx context.Context, key string, into any) (revision uint64, err error) {
	return load(ctx, s.kv, key, into)
}

func load(ctx context.Context, kv jetstream.KeyValue, key string, into any) (revision uint64, err error) {
	e, err := kv.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	return e.Revision(), json.Unmarshal(e.Value(), into)
}

// Note notes that a branch was looked at up to h.SHA, unless a later push is
// known. It makes the project known.
func (s *Store) Note(ctx context.Context, h Head) error {
	known := Project{Path: h.Project}
	if _, err := s.load(ctx, projectKey(h.Project), &known); errors.Is(err, jetstream.ErrKeyNotFound) {
		if err := s.Watch(ctx, known); err != nil {
			return err
		}
	} else if err != nil {
		return fault.New("heads: read", fault.Transient, err)
	}
	return s.change(ctx, h.Project, h.Ref, func(old *Head) {
		if !old.At.After(h.At) {
			*old = h
		}
	})
}

// Ask notes that a commit of a branch was asked for.
func (s *Store) Ask(ctx context.Context, project, ref, sha string, at time.Time) error {
	return s.change(ctx, project, ref, func(h *Head) {
		if h.Asked != sha {
			h.Asked, h.Asks = sha, 0
		}
		h.AskedAt, h.Asks = at, h.Asks+1
	})
}

// tries bounds how often a change that lost a race is made anew.
const tries = 20

func (s *Store) change(ctx context.Context, project, ref string, f func(*Head)) error {
	return change(ctx, s.kv, headKey(project, ref), Head{Project: project, Ref: ref}, func(old Head) (Head, bool) {
		next := old
		f(&next)
		return next, next != old
	})
}

// change changes a value, first when there is none, until nobody else changed it
// meanwhile. f reports whether there is anything to change; a value that is not
// stored yet is stored all the same.
func change[T any](ctx context.Context, kv jetstream.KeyValue, key string, first T, f func(T) (T, bool)) error {
	for range tries {
		old := first
		revision, err := load(ctx, kv, key, &old)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fault.New("heads: read", fault.Transient, err)
		}
		next, changed := f(old)
		if !changed && revision > 0 {
			return nil
		}
		b, err := json.Marshal(next)
		if err != nil {
			return fault.New("heads: encode", fault.Permanent, err)
		}
		if revision == 0 {
			_, err = kv.Create(ctx, key, b)
		} else {
			_, err = kv.Update(ctx, key, b, revision)
		}
		if !lostRace(err) {
			return fault.New("heads: write", fault.Transient, err)
		}
	}
	return fault.Errorf(fault.Transient, "heads: %s changes too often", key)
}

// lostRace reports whether a write failed because another came first.
func lostRace(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Watch makes a project known, or changes what is known of it.
func (s *Store) Watch(ctx context.Context, p Project) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fault.New("heads: encode", fault.Permanent, err)
	}
	_, err = s.kv.Put(ctx, projectKey(p.Path), b)
	return fault.New("heads: write", fault.Transient, err)
}

// Projects lists the projects that are known.
func (s *Store) Projects(ctx context.Context) (list []Project, err error) {
	err = each(ctx, s.kv, "*.p", func(p Project) { list = append(list, p) })
	return list, err
}

// Of lists what is known of a project's branches, by ref.
func (s *Store) Of(ctx context.Context, project string) (map[string]Head, error) {
	heads := map[string]Head{}
	err := each(ctx, s.kv, hash(project)+".*", func(h Head) {
		if h.Project == project && h.Ref != "" {
			heads[h.Ref] = h
		}
	})
	return heads, err
}

// Forget removes a branch that is no longer there, and what it was at.
func (s *Store) Forget(ctx context.Context, project, ref string) error {
	w, err := s.kv.ListKeysFiltered(ctx, hash(project)+".s"+hash(ref)+".*")
	if err != nil {
		return fault.New("heads: list", fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	for key := range w.Keys() {
		if err := s.kv.Purge(ctx, key); err != nil {
			return fault.New("heads: remove", fault.Transient, err)
		}
	}
	return fault.New("heads: remove", fault.Transient, s.kv.Purge(ctx, headKey(project, ref)))
}

// each calls f with the values of all keys that match, as they are now. What
// can't be read is passed over: it is written anew by the next push.
func each[T any](ctx context.Context, kv jetstream.KeyValue, keys string, f func(T)) error {
	w, err := kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return fault.New("heads: list", fault.Transient, err)
	}
	defer func() { _ = w.Stop() }() // fails only on a closed connection
	for {
		select {
		case <-ctx.Done():
			return fault.New("heads: list", fault.Transient, ctx.Err())
		case e, open := <-w.Updates():
			if !open {
				return fault.New("heads: list", fault.Transient, errors.New("the list broke off"))
			}
			if e == nil {
				return nil
			}
			var v T
			if json.Unmarshal(e.Value(), &v) == nil {
				f(v)
			}
		}
	}
}

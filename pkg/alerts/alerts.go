// Package alerts is the durable store of Falco alerts between whoever saw them
// (the gate, the sandbox's sensor) and the correlator: one JetStream stream.
//
// Guarantees:
//
//   - Put reports Stored only after JetStream acknowledged: the alert survives
//     a killed process (and a power cut if the server syncs always).
//   - An alert stored twice within Config.Window, known by its content digest,
//     is stored once; the second Put says Duplicate.
//   - At most Config.MaxPerRule alerts are kept for one scan and rule. What
//     comes after is counted, durably, and is no error. The first one over the
//     limit is marked before its Put returns, later ones within FlushEvery: a
//     killed process can lose part of the count, never the fact.
//   - A store that is slow slows Put down; a store that is full or away makes
//     it fail with a transient error. Memory in flight is bounded.
//   - Each stored alert is announced at least once by a Notifier, however
//     often the process that runs it is killed.
package alerts

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Defaults of Config.
const (
	DefaultMaxPerRule = 10_000
	DefaultMaxBytes   = 8 << 30
	DefaultMaxAge     = 7 * 24 * time.Hour
	DefaultWindow     = time.Minute
	DefaultInFlight   = 64 << 20
)

// FlushEvery is how long counts of capped alerts may wait in memory.
const FlushEvery = 250 * time.Millisecond

// Config configures a Store. Zero values mean the defaults above.
type Config struct {
	Stream     string        // stream name; "" means "ALERTS"
	Namespace  string        // where scans run in a cluster; "" means falco.SandboxNamespace
	Replicas   int           // of the stream in a cluster; 0 means 1
	Guest      bool          // it is another function's store: take it as it is
	MaxPerRule int64         // alerts kept per scan and rule
	MaxBytes   int64         // disk the stream may use; Put fails beyond it
	MaxAge     time.Duration // alerts older than this are dropped
	Window     time.Duration // within which JetStream recognises a repetition
	InFlight   int64         // bytes of alerts on their way to JetStream
	AckTimeout time.Duration // how long JetStream may take; 0 means 10 s
	Log        *slog.Logger
}

// Store is the alert store. It is safe for concurrent use.
type Store struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	room   *semaphore.Weighted
	capped *capper
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Item is an alert to store.
type Item struct {
	Alert falco.Alert
	// Raw is the alert's JSON text as it was received, kept as evidence. Empty
	// means that Alert is encoded anew.
	Raw []byte
	// ScanID is set where the caller knows the scan better than the alert does.
	ScanID scan.ID
}

// Status says what became of an Item.
type Status uint8

// The statuses of an Outcome.
const (
	Failed    Status = iota // not stored, or not known to be: see Err
	Stored                  // new and durable
	Duplicate               // stored before
	Capped                  // over the limit for its scan and rule; counted
)

var statuses = [...]string{"failed", "stored", "duplicate", "capped"}

// String returns the status in lower case.
func (s Status) String() string {
	if int(s) < len(statuses) {
		return statuses[s]
	}
	return "unknown"
}

// Outcome is what became of one Item.
type Outcome struct {
	Status Status
	Seq    uint64 // stream sequence, where Stored or Duplicate
	Err    error  // where Failed
}

// Open creates or updates the streams and starts the Store. The caller closes
// it before the connection. Errors are transient unless the server refuses the
// configuration.
func Open(ctx context.Context, nc *nats.Conn, c Config) (*Store, error) {
	c = c.withDefaults()
	// The client's own limit would make Put fail where it should wait.
	unlimited := int(c.InFlight/itemCost) + portionItems
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(c.AckTimeout), jetstream.WithPublishAsyncMaxPending(unlimited))
	if err != nil {
		return nil, fault.New("alerts: open", fault.Permanent, err)
	}
	terms := stream.Terms{Replicas: c.Replicas, Guest: c.Guest}
	kept, err := stream.Open(ctx, js, jetstream.StreamConfig{
		Name: c.Stream, Subjects: []string{subjectAll}, Description: "Falco alerts, by scan and rule",
		Storage: jetstream.FileStorage, AllowDirect: true,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: c.MaxPerRule,
		MaxBytes: c.MaxBytes, MaxAge: c.MaxAge, Duplicates: c.Window,
	}, terms)
	if err != nil {
		return nil, fault.New("alerts", fault.KindOf(err), err)
	}
	counters, err := stream.Open(ctx, js, jetstream.StreamConfig{
		Name: c.Stream + "-CAPPED", Subjects: []string{cappedAll}, Description: "counts of alerts over the limit",
		Storage: jetstream.FileStorage, AllowDirect: true,
		AllowMsgCounter: true, MaxMsgsPerSubject: 1, MaxAge: c.MaxAge,
	}, terms)
	if err != nil {
		return nil, fault.New("alerts", fault.KindOf(err), err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{cfg: c, nc: nc, js: js, stream: kept, room: semaphore.NewWeighted(c.InFlight), stop: stop}
	s.capped = newCapper(js, counters, c.Log)
	s.done.Go(func() { s.capped.run(running) })
	return s, nil
}

func (c Config) withDefaults() Config {
	def := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&c.MaxPerRule, DefaultMaxPerRule)
	def(&c.MaxBytes, DefaultMaxBytes)
	def((*int64)(&c.MaxAge), int64(DefaultMaxAge))
	def((*int64)(&c.Window), int64(DefaultWindow))
	def(&c.InFlight, DefaultInFlight)
	def((*int64)(&c.AckTimeout), int64(10*time.Second))
	if c.Stream == "" {
		c.Stream = "ALERTS"
	}
	if c.Namespace == "" {
		c.Namespace = falco.SandboxNamespace
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Close writes pending counts and stops the Store. Puts must have returned.
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.AckTimeout)
	defer cancel()
	return s.capped.flush(ctx)
}

// Purge removes all alerts and counts of a scan.
func (s *Store) Purge(ctx context.Context, id scan.ID) error {
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(ScanSubject(id))); err != nil {
		return fault.New("alerts: purge scan "+string(id), fault.Transient, err)
	}
	return s.capped.purge(ctx, id)
}

// Drop removes the stored alerts that subject matches, up to and including
// sequence last.
func (s *Store) Drop(ctx context.Context, subject string, last uint64) error {
	err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(last+1))
	return fault.New("alerts: drop "+subject, fault.Transient, err)
}

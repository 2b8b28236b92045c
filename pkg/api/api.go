// Package api is the HTTP scan API, /api/v1: submit a source archive, ask what
// became of it, fetch its report, watch its events, read the event log, replay dead letters.
//
// Guarantees: a submission is answered with a success only once the archive
// and the requests are durable; the same content yields the same scan IDs, so
// that sending again is harmless; errors are RFC 9457 problem documents; every
// request is bounded in size, time and number. Who may ask is Guard's matter,
// which New applies.
package api

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Name is the API's name in event sources.
const Name = "api"

// Prefix is the path that all of the API stands below.
const Prefix = "/api/v1"

// Planner plans the scans of an archive; planner.Planner is one.
type Planner interface {
	Plan(ctx context.Context, archive io.Reader, m planner.Meta) (planner.Plan, error)
}

// Scans knows what became of scans; *ledger.Ledger is one.
type Scans interface {
	// Request notes that a scan was asked for.
	Request(ctx context.Context, r scan.Request, at time.Time) error
	// Get returns a scan's record; ledger.ErrUnknown (wrapped) if there is none.
	Get(ctx context.Context, id scan.ID) (ledger.Record, error)
	// List returns a page of records and where the next begins, 0 at the end.
	List(ctx context.Context, before uint64, limit int) (page []ledger.Record, next uint64, err error)
}

// Results has the results of scans; *results.Store is one.
type Results interface {
	// Get returns a scan's newest result; fault.Permanent if there is none.
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
}

// Logged is an event of the log.
type Logged struct {
	Seq   uint64    `json:"seq"`  // ascending, with gaps
	Time  time.Time `json:"time"` // when it was stored
	Event ce.Event  `json:"event"`
}

// Query selects events of the log. Zero fields select everything.
type Query struct {
	After   uint64 // only events with a greater Seq
	Type    string
	Subject string
	Limit   int  // at most so many
	Follow  bool // wait for further events instead of ending
}

// Log is the event log.
type Log interface {
	// Events iterates in the order in which events were stored. An error ends
	// the iteration; the end of ctx is not one.
	Events(ctx context.Context, q Query) iter.Seq2[Logged, error]
}

// Letter is an event that a subscriber could not handle.
type Letter struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`      // of the last failure
	Trigger string    `json:"trigger"` // whose subscriber failed
	Code    int       `json:"code"`    // HTTP status of the failure
	Reason  string    `json:"reason"`
	Event   ce.Event  `json:"event"`
}

// Letters has the dead letters.
type Letters interface {
	// List iterates over the letters, the oldest failure first.
	List(ctx context.Context) iter.Seq2[Letter, error]
	// Replay has a letter delivered again and removes it; fault.Permanent if
	// there is no such letter.
	Replay(ctx context.Context, id string) error
}

// Config is what the API needs. Zero limits mean the defaults named.
type Config struct {
	Planner Planner
	Emitter function.Emitter
	Scans   Scans
	Results Results
	Log     Log
	Letters Letters

	Access Access
	Now    func() time.Time
	Slog   *slog.Logger
	// Stop ends streams, which would otherwise outlast a server's drain. May be nil.
	Stop <-chan struct{}

	MaxArchive    int64         // bytes of an archive; source.DefaultLimits().Archive
	UploadTimeout time.Duration // for sending and planning one archive; 10 min
	Uploads       int           // archives taken in at once; 4
	Streams       int           // event streams open at once; 64
	Heartbeat     time.Duration // between signs of life on a quiet stream; 15 s
}

// api is the handler's state.
type api struct {
	Config
	uploads, streams chan struct{} // a slot each
}

// New returns the API's handler, for every path below Prefix.
func New(c Config) http.Handler {
	setDefault(&c.MaxArchive, source.DefaultLimits().Archive)
	setDefault(&c.UploadTimeout, 10*time.Minute)
	setDefault(&c.Uploads, 4)
	setDefault(&c.Streams, 64)
	setDefault(&c.Heartbeat, 15*time.Second)
	a := &api{Config: c, uploads: make(chan struct{}, c.Uploads), streams: make(chan struct{}, c.Streams)}
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /scans":               a.submit,
		"GET /scans":                a.listScans,
		"GET /scans/{id}":           a.getScan,
		"GET /scans/{id}/events":    a.scanEvents,
		"GET /scans/{id}/report":    a.getReport,
		"GET /events":               a.events,
		"GET /dead-letters":         a.listLetters,
		"POST /dead-letters/replay": a.replay,
	} {
		mux.Handle(pattern, handler{a, h})
	}
	return Guard(c.Access, c.Slog, http.StripPrefix(Prefix, problems(mux)))
}

func setDefault[T int | int64 | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

// handler answers errors with problem documents.
type handler struct {
	api   *api
	serve func(http.ResponseWriter, *http.Request) error
}

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		h.api.refuse(w, r, err)
	}
}

// acquire takes a slot; release gives it back. ok is false if none is free.
func acquire(slots chan struct{}) (release func(), ok bool) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, true
	default:
		return nil, false
	}
}

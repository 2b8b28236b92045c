// Package depot is the registry service of a cluster: the one thing a scan's pod
// can reach. It hands out the scan's source, once, and is the scan's npm
// registry; and it tells whoever may ask what was fetched.
//
//	GET /source/<scan ID>/<attempt>/<expiry>/<token>      the source archive
//	    /npm/<scan ID>/<attempt>/<expiry>/<token>/...     package registry, see package registry
//	GET /fetches/<scan ID>/<attempt>/<expiry>/<token>     fetches.Log as JSON
//
// Guarantees:
//   - Nothing is served without a ticket (package ticket) for that scan and
//     attempt, nor for an attempt that is not the scan's latest or was given up.
//   - A source ticket hands out one whole archive, to whoever comes first. A
//     transfer that breaks off does not use the ticket up, unless the process
//     ends in it.
//   - What a scan fetches is pinned to the lockfile of that scan's own source,
//     and logged before it is served. The log is stored within a moment, and
//     before it is told; one that may lack something says so (fetches.Log).
//   - Memory, disk, connections, requests and bytes are bounded, and for each
//     scan to a part of the whole: a scan that exhausts its part is refused,
//     which its log says, and others go on.
package depot

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// Runs has the scans' latest attempts. Get returns runs.ErrNotFound, wrapped;
// other errors are transient unless they say otherwise.
type Runs interface {
	Get(ctx context.Context, id scan.ID) (runs.Run, error)
}

// Logs keeps logs of fetches. Errors are transient.
type Logs interface {
	Load(ctx context.Context, id scan.ID, attempt int) (fetches.Record, error)
	Save(ctx context.Context, id scan.ID, attempt, unchanged int, r fetches.Record) error
}

// Marks remembers which tickets were used. Errors are transient.
type Marks interface {
	// Use marks the ticket and reports whether it was not marked before.
	Use(ctx context.Context, id scan.ID, attempt int) (first bool, err error)
	// Release takes the mark back.
	Release(ctx context.Context, id scan.ID, attempt int) error
}

var (
	_ Runs  = (*runs.Store)(nil)
	_ Logs  = (*fetches.Store)(nil)
	_ Marks = (*JetStreamMarks)(nil)
)

// Limits bounds the service. A zero field means the default.
type Limits struct {
	Sessions     int           // scans whose registry is at hand; default 32
	Idle         time.Duration // after which a scan's registry makes way; default 15 min
	ScanBytes    int64         // sent to one scan; default 4 GiB
	ScanRequests int64         // answered for one scan; default registry.MaxRequests
	ScanParallel int           // requests of one scan at a time; default 8
	Transfers    int           // sources handed out or unpacked at a time; default 4
}

func (l Limits) orDefault() Limits {
	pick(&l.Sessions, 32)
	pick(&l.Idle, 15*time.Minute)
	pick(&l.ScanBytes, 4<<30)
	pick(&l.ScanRequests, registry.MaxRequests)
	pick(&l.ScanParallel, 8)
	pick(&l.Transfers, 4)
	return l
}

func pick[T int | int64 | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

// Config is what a Depot works with.
type Config struct {
	Key      ticket.Key
	Base     string // the service's own address, as the sandbox knows it
	Runs     Runs
	Sources  source.Store
	Logs     Logs
	Marks    Marks
	Managers map[string]ecosystem.Manager
	// Mirror reaches the registries; Offline is the same cache without them, for
	// scans that ask for that.
	Mirror, Offline *registry.Mirror
	Scratch         string // folder for sources on their way through; "" is the system's
	Limits          Limits
	Metrics         prometheus.Registerer // nil registers nothing
	Now             func() time.Time      // nil is time.Now
	Log             *slog.Logger          // nil discards
}

// Depot is the service. Run has to run beside it.
type Depot struct {
	c         Config
	sessions  *sessions
	transfers chan struct{}
	count     *counters
}

var _ http.Handler = (*Depot)(nil)

// New makes the service.
func New(c Config) (*Depot, error) {
	c.Limits = c.Limits.orDefault()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	count, err := newCounters(c.Metrics)
	if err != nil {
		return nil, err
	}
	d := &Depot{c: c, transfers: make(chan struct{}, c.Limits.Transfers), count: count}
	d.sessions = newSessions(c.Limits, c.Now, d.open)
	return d, nil
}

// ServeHTTP answers one request.
func (d *Depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	purpose, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	handle := map[string]func(http.ResponseWriter, *http.Request, grant){
		ticket.Source: d.source, ticket.NPM: d.npm, ticket.Fetches: d.fetches,
	}[purpose]
	if handle == nil {
		d.refuse(w, "other", fault.Errorf(fault.Invalid, "nothing is here"))
		return
	}
	id, attempt, rest, err := d.c.Key.Check(purpose, path, d.c.Now())
	if err != nil {
		d.c.Log.Warn("ticket refused", "purpose", purpose, "remote", r.RemoteAddr, "error", err)
		d.refuse(w, purpose, err)
		return
	}
	if purpose != ticket.NPM && (r.Method != http.MethodGet || rest != "" || r.URL.RawQuery != "") {
		d.refuse(w, purpose, fault.Errorf(fault.Invalid, "only GET of exactly this address is answered"))
		return
	}
	d.count.requests.WithLabelValues(purpose).Inc()
	handle(w, r, grant{id: id, attempt: attempt, rest: rest, ticket: strings.TrimSuffix(path, rest)})
}

// grant is what a genuine ticket allows.
type grant struct {
	id      scan.ID
	attempt int
	ticket  string // path of the ticket
	rest    string // escaped path after it
}

// errGone is the refusal of an attempt that has been superseded.
var errGone = errors.New("this is not the scan's latest attempt, or it was given up")

// run returns the record of the attempt that a ticket is for.
func (d *Depot) run(ctx context.Context, id scan.ID, attempt int) (runs.Run, error) {
	run, err := d.c.Runs.Get(ctx, id)
	if err != nil {
		return run, err
	}
	if run.Attempt != attempt || run.GivenUp != "" {
		return run, fault.New("depot", fault.Unauthorized, errGone)
	}
	return run, nil
}

// fetches answers what was fetched. It is told of older attempts too.
func (d *Depot) fetches(w http.ResponseWriter, r *http.Request, g grant) {
	log, err := d.log(r.Context(), g)
	if err != nil {
		d.c.Log.Warn("log of fetches not told", "scan_id", g.id, "error", err)
		d.refuse(w, ticket.Fetches, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(log) // a client that hangs up asks again
}

// log stores what is known of a scan's fetches and returns it.
func (d *Depot) log(ctx context.Context, g grant) (fetches.Log, error) {
	if s := d.sessions.peek(g.id, g.attempt); s != nil {
		if err := s.flush(ctx); err != nil {
			return fetches.Log{}, err
		}
	}
	rec, err := d.c.Logs.Load(ctx, g.id, g.attempt)
	if err != nil {
		return fetches.Log{}, err
	}
	if rec.Open && d.sessions.peek(g.id, g.attempt) == nil {
		rec.Problems = fetches.AddProblem(rec.Problems, fetches.Interrupted)
	}
	return rec.Log, nil
}

// refuse answers an error by its kind. A missing run is as good as a wrong
// ticket.
func (d *Depot) refuse(w http.ResponseWriter, purpose string, err error) {
	status, text := fault.Status(err), err.Error()
	switch {
	case errors.Is(err, errGone), errors.Is(err, runs.ErrNotFound):
		status, text = http.StatusForbidden, errGone.Error()
	case fault.KindOf(err) == fault.Unauthorized:
		status = http.StatusForbidden // a 401 would have npm ask for a password
	case fault.KindOf(err) == fault.Transient:
		w.Header().Set("Retry-After", "1")
		text = "not now, try again" // what ails us is not the sandbox's business
	}
	d.count.refused.WithLabelValues(purpose, fault.KindOf(err).String()).Inc()
	answer(w, status, text)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
}

package depot

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// session is the registry of one attempt at a scan, with its log.
//
// The stored log is open as long as requests are under way that it may lack:
// begin stores that before the first of them is served, and flush takes it back
// once all that was served is stored.
type session struct {
	id      scan.ID
	attempt int
	proxy   *registry.Proxy
	logs    Logs
	limits  Limits
	count   *counters
	slots   chan struct{} // requests under way

	mu       sync.Mutex
	before   fetches.Record // stored by an earlier process, or before an eviction
	stored   int            // fetches that are
	running  int
	requests int64 // answered by this session
	bytes    int64 // sent by this session
	problems []string
	open     bool // the stored log is
	dirty    bool // there is something to store
}

// saveTimeout bounds storing a log.
const saveTimeout = 10 * time.Second

// newSession goes on with a stored log.
func newSession(g grant, x *registry.Proxy, before fetches.Record, l Limits, logs Logs, count *counters) *session {
	s := &session{id: g.id, attempt: g.attempt, proxy: x, before: before, limits: l, logs: logs, count: count,
		slots: make(chan struct{}, l.ScanParallel), stored: len(before.Fetches)}
	if before.Open {
		s.problems = fetches.AddProblem(s.problems, fetches.Interrupted)
		s.dirty = true
	}
	return s
}

// serve answers a request for rest, or refuses it if the scan has had its part.
func (s *session) serve(w http.ResponseWriter, r *http.Request) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return nil // the sandbox gave up
	}
	why, err := s.begin(r.Context())
	if err != nil {
		return err
	}
	if why != "" {
		answer(w, http.StatusTooManyRequests, why)
		return nil
	}
	counted := &countingWriter{ResponseWriter: w}
	defer func() { s.end(counted.n) }()
	s.proxy.ServeHTTP(counted, r)
	return nil
}

// begin admits a request: it says why not, or makes sure that the stored log is
// open.
func (s *session) begin(ctx context.Context) (why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.before.Requests+s.requests >= s.limits.ScanRequests:
		why = fmt.Sprintf("the sandbox made more than %d registry requests", s.limits.ScanRequests)
	case s.before.Bytes+s.bytes >= s.limits.ScanBytes:
		why = fmt.Sprintf("the sandbox fetched more than %d MiB", s.limits.ScanBytes>>20)
	}
	if why != "" {
		if n := len(s.problems); len(fetches.AddProblem(s.problems, why)) > n {
			s.problems, s.dirty = fetches.AddProblem(s.problems, why), true
		}
		return why, nil
	}
	if !s.open {
		s.open = true
		if err := s.save(ctx); err != nil {
			s.open = false
			return "", err
		}
	}
	s.running++
	s.requests++
	s.dirty = true
	return "", nil
}

func (s *session) end(sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.bytes += sent
	s.dirty = true
	s.count.bytes.WithLabelValues("npm").Add(float64(sent))
}

// flush stores what there is to store. Errors are transient.
func (s *session) flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	was := s.open
	s.open = s.running > 0
	if err := s.save(ctx); err != nil {
		s.open = was
		return err
	}
	s.dirty = s.running > 0
	return nil
}

// settled reports whether all there is to store is stored. While that is being
// done, it is not.
func (s *session) settled() bool {
	if !s.mu.TryLock() {
		return false
	}
	defer s.mu.Unlock()
	return !s.dirty
}

// save stores the log as it is. s.mu is held: requests wait, and see an error
// rather than going unlogged.
func (s *session) save(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	list, unlisted := s.proxy.Fetches()
	r := fetches.Record{Requests: s.before.Requests + s.requests, Bytes: s.before.Bytes + s.bytes, Open: s.open}
	r.Fetches = append(append(make([]finding.Fetch, 0, len(s.before.Fetches)+len(list)), s.before.Fetches...), list...)
	r.Unlisted = s.before.Unlisted + unlisted
	for _, more := range [][]string{s.before.Problems, s.problems, s.proxy.Problems()} {
		for _, p := range more {
			r.Problems = fetches.AddProblem(r.Problems, p)
		}
	}
	err := s.logs.Save(ctx, s.id, s.attempt, s.stored, r)
	if err != nil {
		s.count.flushed.WithLabelValues("failed").Inc()
		return err
	}
	s.stored = len(r.Fetches)
	s.count.flushed.WithLabelValues("stored").Inc()
	return nil
}

// countingWriter counts what is sent.
type countingWriter struct {
	http.ResponseWriter
	n int64
}

// Write counts and passes on.
func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

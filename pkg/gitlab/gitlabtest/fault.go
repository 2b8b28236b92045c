package gitlabtest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is how the server misbehaves for the requests it concerns.
type Fault struct {
	Method     string        `json:"method,omitempty"`      // "" is any
	Path       string        `json:"path,omitempty"`        // part of the request's path, e.g. "/repository/archive"; "" is any
	Times      int           `json:"times,omitempty"`       // how many requests it concerns; 0 is all
	Delay      time.Duration `json:"delay,omitempty"`       // before anything else, in nanoseconds
	Status     int           `json:"status,omitempty"`      // answer this status and do nothing
	RetryAfter int           `json:"retry_after,omitempty"` // seconds, with Status; 0 sends no header
	Drop       bool          `json:"drop,omitempty"`        // break the connection and do nothing
	Lose       bool          `json:"lose,omitempty"`        // do it, then break the connection
	Truncate   bool          `json:"truncate,omitempty"`    // break the connection half-way through the answer
	Body       string        `json:"body,omitempty"`        // with Status: answered instead of GitLab's message
}

// Break makes requests fail as f says. Of several faults the first added that
// concerns a request strikes.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Mend removes all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take finds the fault that strikes a request, and uses it once.
func (s *Server) take(r *http.Request) *Fault {
	for _, f := range s.faults {
		if f.Times < 0 || f.Method != "" && f.Method != r.Method || !strings.Contains(r.URL.Path, f.Path) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				f.Times = -1 // used up
			}
		}
		copied := *f
		return &copied
	}
	return nil
}

// strike waits, and answers in place of the server if f says so.
func (f *Fault) strike(w http.ResponseWriter, r *http.Request) bool {
	if f == nil {
		return false
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return true
		}
	}
	if f.Drop {
		panic(http.ErrAbortHandler) // breaks the connection
	}
	if f.Status == 0 {
		return false
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	body := f.Body
	if body == "" {
		body = `{"message":"` + strconv.Itoa(f.Status) + " " + http.StatusText(f.Status) + `"}`
	}
	_, _ = w.Write([]byte(body)) // the client may hang up
	return true
}

// send writes an answer, half of it if f says so.
func (f *Fault) send(w http.ResponseWriter, _ *http.Request, a answer, write func(http.ResponseWriter, answer)) {
	if f == nil || !f.Truncate || len(a.raw) == 0 {
		write(w, a)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.raw)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.raw[:len(a.raw)/2])
	_ = http.NewResponseController(w).Flush() // else the client sees no answer at all
	panic(http.ErrAbortHandler)
}

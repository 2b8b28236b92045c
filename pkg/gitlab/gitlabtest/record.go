package gitlabtest

import (
	"net/http"
	"strings"
)

// MaxCalls bounds the requests that are remembered; later ones are counted.
const MaxCalls = 20_000

// maxCallBody bounds how much of a request's body is remembered, in bytes.
const maxCallBody = 64 << 10

// Call is one request as it came.
type Call struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query,omitempty"`
	Body   string `json:"body,omitempty"`
	Agent  string `json:"agent,omitempty"`
	Faulty bool   `json:"faulty,omitempty"` // a fault struck it
}

// record remembers a request and finds the fault that strikes it.
func (s *Server) record(r *http.Request, body []byte) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.take(r)
	if len(s.calls) == MaxCalls {
		s.dropped++
		return f
	}
	s.calls = append(s.calls, Call{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Body: string(body[:min(len(body), maxCallBody)]),
		Agent: r.UserAgent(), Faulty: f != nil})
	return f
}

// Calls returns the requests of a method ("" is any) whose path contains part,
// oldest first.
func (s *Server) Calls(method, part string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if (method == "" || c.Method == method) && strings.Contains(c.Path, part) {
			out = append(out, c)
		}
	}
	return out
}

// Forget empties the records.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.dropped = nil, 0
}

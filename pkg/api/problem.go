package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Problem is the body of an error answer (RFC 9457, application/problem+json).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Error lets a client return a Problem.
func (p Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// maxDetail bounds a problem's detail, in bytes.
const maxDetail = 1000

// statusError is an error with a status of its own, where fault.Status does
// not fit a client's question.
type statusError struct {
	status int
	detail string
}

// Error implements error.
func (e *statusError) Error() string { return e.detail }

func failed(status int, detail string) error { return &statusError{status, detail} }

// refuse answers with a problem. What went wrong inside is logged, not told.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := fault.Status(err), err.Error()
	var own *statusError
	if errors.As(err, &own) {
		status = own.status
	}
	if own == nil && status >= http.StatusInternalServerError {
		a.Slog.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		detail = "the request could not be completed; try again"
	}
	writeProblem(w, status, detail)
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	detail = strings.Join(strings.Fields(strings.ToValidUTF8(detail, "\uFFFD")), " ")
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "..."
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		h.Set("Retry-After", "2")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Title: http.StatusText(status), Status: status, Detail: detail}) // the client went away: nobody left to tell
}

// write answers with JSON.
func write(w http.ResponseWriter, status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // as above
	return nil
}

// problems turns the plain-text answers of a mux (no such path, wrong method)
// into problem documents.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		p := &muted{header: w.Header()}
		mux.ServeHTTP(p, r) // sets Allow
		writeProblem(w, p.status, "no such resource, or not with this method; see the API's documentation")
	})
}

// muted takes an answer's status and headers and drops its body.
type muted struct {
	header http.Header
	status int
}

func (m *muted) Header() http.Header         { return m.header }
func (m *muted) WriteHeader(status int)      { m.status = status }
func (m *muted) Write(b []byte) (int, error) { return len(b), nil }

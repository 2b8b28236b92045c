// Package gitlabtest is a GitLab in memory, for tests and demos: the part of
// its API that Falconer calls, and webhooks as it sends them.
//
// Guarantees: answers have GitLab's form, so that GitLab's own Go client reads
// them; what GitLab refuses (a wrong token, one without the scope, a status that
// can't follow the one before) is refused with its status and message; every
// request is recorded, within MaxCalls; it fails on demand (see Fault).
//
//	lab := gitlabtest.New("glpat-secret")
//	lab.Project(15, "mike/diaspora").Commit("refs/heads/main", gitlabtest.Tree{"package.json": "{}"})
//	url := lab.Start(t)
package gitlabtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// MaxBody is the largest request body that is read, in bytes.
const MaxBody = 64 << 20

// Server is a GitLab. It is an http.Handler, safe for concurrent use.
type Server struct {
	// Now is the clock of what is created; time.Now if nil. Set it before use.
	Now func() time.Time

	mu       sync.Mutex
	token    string   // may do everything
	readers  []string // tokens of scope read_api
	projects []*Project
	faults   []*Fault
	calls    []Call
	dropped  int
	next     int64 // the next number of a status, pipeline or note
	base     string
}

var _ http.Handler = (*Server)(nil)

// New returns a GitLab without projects that accepts a token with scope "api".
func New(token string) *Server { return &Server{token: token, next: 100} }

// Reader adds a token that may only read (scope "read_api"): writing with it is
// answered with 403.
func (s *Server) Reader(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, token)
}

// Start serves s on a loopback port until the test ends, and returns its
// address without a trailing slash.
func (s *Server) Start(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.SetURL(srv.URL)
	return srv.URL
}

// SetURL says at which address the server is reached: the base of web_url and
// the like.
func (s *Server) SetURL(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = strings.TrimSuffix(base, "/")
}

// request is one API request on its way to an answer.
type request struct {
	*http.Request
	path  []string // segments after /api/v4, decoded
	query url.Values
	body  map[string]any
}

// text returns a parameter of the body, else of the query.
func (r request) text(name string) string {
	switch v := r.body[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatInt(int64(v), 10)
	case bool:
		return strconv.FormatBool(v)
	}
	return r.query.Get(name)
}

// answer is what a request is answered with.
type answer struct {
	status int
	header http.Header
	body   any    // encoded as JSON, unless raw is set
	raw    []byte // sent as it is
}

func ok(body any) answer      { return answer{status: http.StatusOK, body: body} }
func created(body any) answer { return answer{status: http.StatusCreated, body: body} }

// refused is an error in GitLab's form: {"message": "404 Project Not Found"}.
func refused(status int, message string) answer {
	if message == "" {
		message = strconv.Itoa(status) + " " + http.StatusText(status)
	}
	return answer{status: status, body: map[string]string{"message": message}}
}

// ServeHTTP implements http.Handler: the API below /api/v4, and what drives and
// shows the fake below /_ (see control.go).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_") {
		s.control(w, r)
		return
	}
	raw, err := readBody(r)
	if err != nil {
		s.write(w, refused(http.StatusBadRequest, "400 (Bad request) \"body\" could not be read"))
		return
	}
	fault := s.record(r, raw)
	if fault.strike(w, r) {
		return
	}
	a := s.serve(r, raw)
	if fault != nil && fault.Lose {
		panic(http.ErrAbortHandler) // done, but the caller will never know
	}
	fault.send(w, r, a, s.write)
}

// serve answers a request of the API.
func (s *Server) serve(r *http.Request, raw []byte) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, found := strings.CutPrefix(r.URL.EscapedPath(), "/api/v4/")
	if !found {
		return refused(http.StatusNotFound, "")
	}
	req := request{Request: r, query: r.URL.Query()}
	for seg := range strings.SplitSeq(path, "/") {
		text, err := url.PathUnescape(seg)
		if err != nil {
			return refused(http.StatusBadRequest, "")
		}
		req.path = append(req.path, text)
	}
	if a, ok := s.authorize(r); !ok {
		return a
	}
	if len(raw) > 0 && json.Unmarshal(raw, &req.body) != nil {
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return refused(http.StatusBadRequest, "400 Bad request")
		}
		for k := range form {
			req.query.Set(k, form.Get(k))
		}
	}
	return s.route(req).encoded()
}

// encoded turns an answer's body into what is sent, while nothing changes.
func (a answer) encoded() answer {
	if a.raw != nil || a.body == nil {
		return a
	}
	raw, err := json.Marshal(a.body)
	if err != nil {
		return refused(http.StatusInternalServerError, "")
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set("Content-Type", "application/json")
	a.raw = raw
	return a
}

// authorize checks PRIVATE-TOKEN (or a bearer token).
func (s *Server) authorize(r *http.Request) (answer, bool) {
	token := r.Header.Get("Private-Token")
	if token == "" {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	switch {
	case token != "" && token == s.token:
		return answer{}, true
	case !slices.Contains(s.readers, token) || token == "":
		return refused(http.StatusUnauthorized, "401 Unauthorized"), false
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return answer{}, true
	}
	return answer{status: http.StatusForbidden, body: map[string]string{
		"error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token.", "scope": "api"}}, false
}

// route finds what answers a request. Paths are projects/:id/...
func (s *Server) route(r request) answer {
	if len(r.path) < 2 || r.path[0] != "projects" {
		if len(r.path) == 1 && r.path[0] == "user" {
			return ok(bot)
		}
		return refused(http.StatusNotFound, "")
	}
	p := s.find(r.path[1])
	if p == nil {
		return refused(http.StatusNotFound, "404 Project Not Found")
	}
	rest := r.path[2:]
	switch {
	case len(rest) == 0:
		return ok(p.describe(s.base))
	case rest[0] == "repository" && len(rest) > 1:
		return s.repository(p, r, rest[1:])
	case rest[0] == "statuses" && len(rest) == 2 && r.Method == http.MethodPost:
		return s.setStatus(p, r, rest[1])
	case rest[0] == "pipelines" && len(rest) == 1:
		return page(r, p.listPipelines(r))
	case rest[0] == "merge_requests":
		return s.mergeRequest(p, r, rest[1:])
	}
	return refused(http.StatusNotFound, "")
}

// repository answers what is below repository/.
func (s *Server) repository(p *Project, r request, rest []string) answer {
	switch {
	case rest[0] == "archive.tar.gz" && len(rest) == 1:
		return p.archive(r.query.Get("sha"))
	case rest[0] == "compare" && len(rest) == 1:
		return p.compare(r)
	case rest[0] == "branches" && len(rest) == 1:
		return page(r, p.listBranches())
	case rest[0] == "branches" && len(rest) == 2:
		return p.branch(rest[1])
	case rest[0] == "files" && len(rest) == 2:
		return p.file(r, rest[1])
	case rest[0] == "commits" && len(rest) == 1:
		return page(r, p.log(r.query.Get("ref_name")))
	case rest[0] == "commits" && len(rest) == 2:
		return p.commit(rest[1])
	case rest[0] == "commits" && len(rest) == 3 && rest[2] == "statuses":
		return page(r, p.listStatuses(rest[1], r))
	case rest[0] == "commits" && len(rest) == 3 && rest[2] == "merge_requests":
		return page(r, p.ofCommit(rest[1]))
	}
	return refused(http.StatusNotFound, "")
}

// write sends an answer.
func (s *Server) write(w http.ResponseWriter, a answer) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if a.raw != nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.raw)))
		w.WriteHeader(a.status)
		_, _ = w.Write(a.raw) // the client may hang up
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	if a.body != nil {
		_ = json.NewEncoder(w).Encode(a.body)
	}
}

// page cuts a list as GitLab does: per_page (20, at most 100) and page, with
// X-Next-Page and X-Total.
func page[T any](r request, list []T) answer {
	size, err := strconv.Atoi(r.query.Get("per_page"))
	if err != nil || size < 1 {
		size = 20
	}
	size = min(size, 100)
	n, err := strconv.Atoi(r.query.Get("page"))
	if err != nil || n < 1 {
		n = 1
	}
	h := http.Header{"X-Total": {strconv.Itoa(len(list))}, "X-Page": {strconv.Itoa(n)}, "X-Per-Page": {strconv.Itoa(size)}}
	from := min((n-1)*size, len(list))
	to := min(from+size, len(list))
	h.Set("X-Next-Page", "")
	if to < len(list) {
		h.Set("X-Next-Page", strconv.Itoa(n+1))
	}
	return answer{status: http.StatusOK, header: h, body: append([]T{}, list[from:to]...)}
}

// Package packagehunter is the HTTP interface of GitLab's Package Hunter, so that
// its clients and CI jobs need another address only.
//
//	POST /monitor/project/{manager}  a .tgz → {"status":"ok","id":"<scan ID>"}
//	GET  /?id=<scan ID>              {"status":"pending"|"finished"|"error",...}
//	GET  /                           200 {"status":"error","reason":"..."}
//
// Guarantees: an upload is answered with "ok" only once the archive and the
// request are durable; the same archive of the same user is the same scan;
// "finished" means a verdict, and an empty result means that everything was
// checked and nothing found: a scan that is inconclusive, or was refused, is an
// "error" with the reason; a user sees only what he sent; every request is
// bounded in size, time and rate.
package packagehunter

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/users"
)

// Name is the interface's name in event sources.
const Name = "api"

// UsersVariable names the environment variable with the users, as users.FromEnv
// reads it.
const UsersVariable = "FALCONER_PACKAGEHUNTER_USERS"

// The values of Answer.Status.
const (
	StatusOK       = "ok" // taken in
	StatusPending  = "pending"
	StatusFinished = "finished"
	StatusError    = "error"
)

// Answer is the body of every answer.
type Answer struct {
	Status string  `json:"status"`
	ID     scan.ID `json:"id,omitempty"`
	// Result has the alerts of a finished scan, in Falco's form.
	Result *[]falco.Alert `json:"result,omitempty"`
	Reason string         `json:"reason,omitempty"` // of an error
	// Verdict is Falconer's own word on a scan that has ended.
	Verdict finding.Verdict `json:"verdict,omitempty"`
	// Scan is the whole result, for whoever asks with detail=true.
	Scan *finding.Result `json:"scan,omitempty"`
}

// Config is what the interface needs. Zero limits mean the defaults named.
type Config struct {
	Planner  api.Planner
	Managers []string // the package managers that can be scanned
	Emitter  function.Emitter
	Scans    api.Scans
	Results  api.Results
	Users    users.Set // with none, only this machine may ask (api.Guard)
	Now      func() time.Time
	Log      *slog.Logger

	MaxArchive    int64         // bytes of an archive; source.DefaultLimits().Archive
	UploadTimeout time.Duration // for sending and planning one archive; 10 min
	Uploads       int           // archives taken in at once; 4
	UploadRate    Rate          // of one user; 60 a minute, 60 at once
	RequestRate   Rate          // of one user; 6,000 a minute, 500 at once
}

// Rate is how many requests a user may send.
type Rate struct {
	PerMinute float64
	Burst     int
}

type server struct {
	Config
	checker           *users.Checker
	origin            *http.CrossOriginProtection
	slots             chan struct{}
	uploads, requests *limiter
}

// New returns the handler of the three requests.
func New(c Config) http.Handler {
	if c.MaxArchive <= 0 {
		c.MaxArchive = source.DefaultLimits().Archive
	}
	if c.UploadTimeout <= 0 {
		c.UploadTimeout = 10 * time.Minute
	}
	if c.Uploads <= 0 {
		c.Uploads = 4
	}
	if c.UploadRate == (Rate{}) {
		c.UploadRate = Rate{PerMinute: 60, Burst: 60}
	}
	if c.RequestRate == (Rate{}) {
		c.RequestRate = Rate{PerMinute: 6000, Burst: 500}
	}
	s := &server{Config: c, checker: users.NewChecker(c.Users, c.Now), origin: http.NewCrossOriginProtection(), slots: make(chan struct{}, c.Uploads),
		uploads: newLimiter(c.UploadRate, c.Now), requests: newLimiter(c.RequestRate, c.Now)}
	mux := http.NewServeMux()
	mux.Handle("POST /monitor/project/{manager}", s.authorized(s.submit))
	mux.Handle("GET /{$}", http.HandlerFunc(s.root))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, http.StatusNotFound, "", "no such resource: send a .tgz to POST /monitor/project/MANAGER, ask for it with GET /?id=ID")
	})
	return mux
}

// Patterns are what the handler of New is to be registered for, in a mux that
// has other handlers beside it.
func Patterns() []string { return []string{"/monitor/project/", "GET /{$}"} }

// root answers GET /: without an ID to everybody, since it says nothing.
func (s *server) root(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("id") {
		s.write(w, http.StatusOK, Answer{Status: StatusError, Reason: "the query parameter id is missing"})
		return
	}
	s.authorized(s.status).ServeHTTP(w, r)
}

// write sends an answer.
func (s *server) write(w http.ResponseWriter, status int, a Answer) {
	body, err := json.Marshal(a)
	if err != nil {
		s.Log.Error("answer not sent", "error", err)
		http.Error(w, `{"status":"error","reason":"the answer could not be made"}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(report.Inert(body)) // the client went away: nobody left to tell
}

// maxReason bounds a reason, in bytes.
const maxReason = 1000

// fail refuses a request.
func (s *server) fail(w http.ResponseWriter, status int, id scan.ID, reason string) {
	reason = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(reason, "\uFFFD"), func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(5))
	}
	s.write(w, status, Answer{Status: StatusError, ID: id, Reason: reason})
}

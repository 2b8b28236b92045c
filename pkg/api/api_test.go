package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

// toy is a package manager whose projects have a toy.lock.
type toy struct{ ecosystem.Manager }

func (toy) Name() string { return "toy" }

func (toy) Detect(fsys fs.FS) ([]string, error) {
	var roots []string
	for _, dir := range []string{".", "web"} {
		if _, err := fs.Stat(fsys, dir+"/toy.lock"); err == nil || dir == "." && exists(fsys, "toy.lock") {
			roots = append(roots, dir)
		}
	}
	return roots, nil
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

func (toy) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := strings.TrimPrefix(root+"/toy.lock", "./")
	b, err := fs.ReadFile(fsys, name)
	if err == nil && string(b) == "bad" {
		err = fault.Errorf(fault.Invalid, "%s: not a lockfile", name)
	}
	return ecosystem.Project{Manager: "toy", Root: root, Lockfile: "toy.lock", Digest: "sha256:" + strings.Repeat("ab", 32)}, err
}

func (toy) Recipe(ecosystem.Project, ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Version: "toy-1"}
}

// logbook is an event log and the emitter that writes it.
type logbook struct {
	mu     sync.Mutex
	events []api.Logged
	more   chan struct{}
	err    error // of the next Emit
	open   int   // iterations that run
}

var (
	_ api.Log          = (*logbook)(nil)
	_ function.Emitter = (*logbook)(nil)
)

func newLogbook() *logbook { return &logbook{more: make(chan struct{})} }

func (l *logbook) Emit(_ context.Context, e ce.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.events = append(l.events, api.Logged{Seq: uint64(2*len(l.events) + 1), Time: e.Time(), Event: e})
	close(l.more)
	l.more = make(chan struct{})
	return nil
}

func (l *logbook) after(seq uint64) ([]api.Logged, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []api.Logged
	for _, e := range l.events {
		if e.Seq > seq {
			out = append(out, e)
		}
	}
	return out, l.more
}

func (l *logbook) Events(ctx context.Context, q api.Query) iter.Seq2[api.Logged, error] {
	return func(yield func(api.Logged, error) bool) {
		l.count(1)
		defer l.count(-1)
		for n := 0; ; {
			list, more := l.after(q.After)
			for _, e := range list {
				q.After = e.Seq
				if q.Type != "" && e.Event.Type() != q.Type || q.Subject != "" && e.Event.Subject() != q.Subject {
					continue
				}
				if n++; !yield(e, nil) || n == q.Limit {
					return
				}
			}
			if !q.Follow {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (l *logbook) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open += n
}

// letters is a box of dead letters.
type letters struct {
	mu   sync.Mutex
	list []api.Letter
}

func (l *letters) List(context.Context) iter.Seq2[api.Letter, error] {
	return func(yield func(api.Letter, error) bool) {
		l.mu.Lock()
		list := append([]api.Letter(nil), l.list...)
		l.mu.Unlock()
		for _, x := range list {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (l *letters) Replay(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.list {
		if x.ID == id {
			l.list = append(l.list[:i], l.list[i+1:]...)
			return nil
		}
	}
	return fault.Errorf(fault.Permanent, "no such dead letter")
}

// rig is an API on real stores.
type rig struct {
	handler http.Handler
	log     *logbook
	ledger  *ledger.Ledger
	results *results.Store
	letters *letters
	stop    chan struct{}
}

func newRig(t testing.TB, adjust ...func(*api.Config)) *rig {
	t.Helper()
	nc := eventtest.NATS(t)
	js, err := jetstream.New(nc)
	must(t, err)
	store, err := source.OpenStore(t.Context(), js, source.StoreConfig{Spool: t.TempDir()})
	must(t, err)
	l, err := ledger.Open(t.Context(), js, ledger.Config{})
	must(t, err)
	res, err := results.Open(t.Context(), nc, results.Config{})
	must(t, err)
	r := &rig{log: newLogbook(), ledger: l, results: res, letters: &letters{}, stop: make(chan struct{})}
	c := api.Config{
		Planner: planner.Planner{Store: store, Managers: []ecosystem.Manager{toy{}}, Rules: "rules-1", TempDir: t.TempDir()},
		Emitter: r.log, Scans: l, Results: res, Log: r.log, Letters: r.letters,
		Now: eventtest.At, Slog: eventtest.Log(t), Stop: r.stop,
	}
	for _, f := range adjust {
		f(&c)
	}
	r.handler = api.New(c)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// finish lets a scan end with a result.
func (r *rig) finish(t testing.TB, id scan.ID) {
	t.Helper()
	result := finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: id, Revision: 1, Verdict: finding.Clean, Project: "local/app", Started: eventtest.At(), Finished: eventtest.At().Add(time.Minute)}
	must(t, r.results.Put(t.Context(), result))
	e, err := event.New(event.ScanFinished, event.Source("correlator"), string(id), event.ID(event.ScanFinished, string(id)), eventtest.At().Add(time.Minute), result)
	must(t, err)
	must(t, r.log.Emit(t.Context(), e))
	_, err = r.ledger.Handle(t.Context(), e)
	must(t, err)
}

func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for i := 0; i < len(files); i += 2 {
		must(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := io.WriteString(w, files[i+1])
		must(t, err)
	}
	must(t, errors.Join(w.Close(), zip.Close()))
	return b.Bytes()
}

// ask makes a request from this machine.
func (r *rig) ask(method, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://127.0.0.1:8080/api/v1"+path, body)
	req.RemoteAddr = "127.0.0.1:40000"
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

func (r *rig) submit(body []byte, query string) *httptest.ResponseRecorder {
	return r.ask(http.MethodPost, "/scans?"+query, bytes.NewReader(body), "Content-Type", "application/gzip")
}

func decode[T any](t testing.TB, w *httptest.ResponseRecorder, status int) T {
	t.Helper()
	var v T
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	must(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

func TestSubmitPollAndRead(t *testing.T) {
	r := newRig(t)
	body := archive(t, "app/toy.lock", "good", "app/web/toy.lock", "bad")
	s := decode[api.Submission](t, r.submit(body, "project=local/app&ref=main&timeout=90&offline"), 202)
	if len(s.ScanIDs) != 1 || len(s.Rejected) != 1 || s.Scans[0].Status != ledger.Pending || s.Scans[0].URL != "/api/v1/scans/"+string(s.ScanIDs[0]) {
		t.Fatalf("submission %+v", s)
	}
	if !strings.Contains(s.Rejected[0], "web/toy.lock: not a lockfile") {
		t.Errorf("rejected %q", s.Rejected)
	}
	again := decode[api.Submission](t, r.submit(body, "project=local/app"), 202)
	if again.ScanIDs[0] != s.ScanIDs[0] {
		t.Errorf("the same content got the IDs %s and %s", s.ScanIDs[0], again.ScanIDs[0])
	}
	list, _ := r.log.after(0)
	req, err := event.Decode[scan.Request](list[0].Event)
	must(t, err)
	if err := req.Validate(); err != nil || req.TimeoutSeconds != 90 || !req.Offline || req.Ref != "main" || list[0].Event.Source() != "/falconer/api" {
		t.Errorf("request %+v, %v", req, err)
	}
	rejected, err := event.Decode[event.Rejected](list[1].Event)
	must(t, err)
	if !strings.HasPrefix(rejected.Cause, "sha256:") || list[1].Event.ID() != list[3].Event.ID() {
		t.Errorf("rejection %+v; IDs %s and %s", rejected, list[1].Event.ID(), list[3].Event.ID())
	}
	path := "/scans/" + string(s.ScanIDs[0])
	if got := decode[api.ScanState](t, r.ask("GET", path, nil), 200); got.Status != ledger.Pending || got.Result != nil {
		t.Errorf("before: %+v", got)
	}
	r.finish(t, s.ScanIDs[0])
	if got := decode[api.ScanState](t, r.ask("GET", path, nil), 200); got.Status != ledger.Finished || got.Result == nil || got.Result.Verdict != finding.Clean {
		t.Errorf("after: %+v", got)
	}
	page := decode[api.ScanPage](t, r.ask("GET", "/scans?limit=1", nil), 200)
	if len(page.Scans) != 1 || page.Scans[0].ID != s.ScanIDs[0] {
		t.Errorf("list %+v", page)
	}
	events := decode[api.EventPage](t, r.ask("GET", path+"/events", nil), 200)
	if len(events.Events) != 3 || events.Next != events.Events[2].Seq {
		t.Errorf("%d events, next %d", len(events.Events), events.Next)
	}
	if got := decode[api.ScanState](t, r.ask("GET", path, nil), 200); got.ID != s.ScanIDs[0] {
		t.Errorf("by ID: %+v", got)
	}
}

func TestRefusedSubmissions(t *testing.T) {
	good := archive(t, "toy.lock", "good", "x", "x")
	for name, test := range map[string]struct {
		query, media string
		body         []byte
		status       int
		detail       string
	}{
		"no project":       {"", "application/gzip", good, 400, "project is missing"},
		"bad project":      {"project=../x", "application/gzip", good, 400, "not a path"},
		"control in ref":   {"project=p&ref=a%0Ab", "application/gzip", good, 400, "not a ref"},
		"bad commit":       {"project=p&commit=main", "application/gzip", good, 400, "commit hash"},
		"bad timeout":      {"project=p&timeout=-1s", "application/gzip", good, 400, "not a duration"},
		"long timeout":     {"project=p&timeout=100h", "application/gzip", good, 400, "not a duration"},
		"huge timeout":     {"project=p&timeout=9999999999999", "application/gzip", good, 400, "not a duration"},
		"bad flag":         {"project=p&offline=maybe", "application/gzip", good, 400, "neither true nor false"},
		"unknown":          {"project=p&color=red", "application/gzip", good, 400, "unknown query parameter"},
		"media type":       {"project=p", "application/json", good, 415, "application/gzip"},
		"no media type":    {"project=p", "", good, 415, "application/gzip"},
		"not gzip":         {"project=p", "application/gzip", []byte("hello"), 400, "not a gzip archive"},
		"empty":            {"project=p", "application/gzip", nil, 400, "not a gzip archive"},
		"traversal":        {"project=p", "application/gzip", archive(t, "../x", "x"), 400, `"../x" climbs`},
		"too large":        {"project=p", "application/octet-stream", bytes.Repeat([]byte("x"), 5000), 413, "at most 4096"},
		"nothing to scan":  {"project=p", "application/gzip", archive(t, "README", "x"), 422, "no lockfile found; looked for"},
		"nothing scanable": {"project=p", "application/gzip", archive(t, "toy.lock", "bad"), 422, "toy.lock: not a lockfile"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *api.Config) { c.MaxArchive = 4096 })
			w := r.ask("POST", "/scans?"+test.query, bytes.NewReader(test.body), "Content-Type", test.media)
			p := decode[api.Problem](t, w, test.status)
			if !strings.Contains(p.Detail, test.detail) || p.Status != test.status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("problem %+v, want %q", p, test.detail)
			}
			if page := decode[api.ScanPage](t, r.ask("GET", "/scans", nil), 200); len(page.Scans) > 0 {
				t.Errorf("a refused submission left %+v", page.Scans)
			}
		})
	}
}

func TestLargeBodyWithoutLength(t *testing.T) {
	r := newRig(t, func(c *api.Config) { c.MaxArchive = 4096 })
	w := r.ask("POST", "/scans?project=p", io.MultiReader(bytes.NewReader(archive(t, "x", "x")[:20]), bytes.NewReader(make([]byte, 1<<20))), "Content-Type", "application/gzip")
	if w.Code != 413 && w.Code != 400 { // damaged before it is too large
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// TestDurableBeforeAccepted: no success while the broker can't store.
func TestDurableBeforeAccepted(t *testing.T) {
	r := newRig(t)
	r.log.err = errors.New("disk full at /var/secret")
	w := r.submit(archive(t, "toy.lock", "good"), "project=p")
	p := decode[api.Problem](t, w, 503)
	if strings.Contains(p.Detail, "secret") || w.Header().Get("Retry-After") == "" {
		t.Errorf("problem %+v", p)
	}
	r.log.err = nil
	decode[api.Submission](t, r.submit(archive(t, "toy.lock", "good"), "project=p"), 202)
}

func TestUploadsAreBounded(t *testing.T) {
	r := newRig(t, func(c *api.Config) { c.Uploads = 1 })
	pr, pw := io.Pipe()
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- r.ask("POST", "/scans?project=p", pr, "Content-Type", "application/gzip") }()
	body := archive(t, "toy.lock", "good")
	_, err := pw.Write(body[:10]) // it is being read: the slot is taken
	must(t, err)
	if w := r.submit(body, "project=p"); w.Code != 503 {
		t.Errorf("second upload: %d", w.Code)
	}
	_, err = pw.Write(body[10:])
	must(t, err)
	must(t, pw.Close())
	if w := <-done; w.Code != 202 {
		t.Errorf("first upload: %d %s", w.Code, w.Body)
	}
	if w := r.submit(body, "project=p"); w.Code != 202 {
		t.Errorf("third upload: %d", w.Code)
	}
}

func TestUnknownAndMalformed(t *testing.T) {
	r := newRig(t)
	for path, status := range map[string]int{
		"GET /scans/00000000-0000-5000-8000-000000000000":        404,
		"GET /scans/00000000-0000-5000-8000-000000000000/events": 404,
		"GET /scans/x":             400,
		"GET /scans/..%2fx":        400,
		"GET /scans?limit=x":       400,
		"GET /scans?limit=501":     400,
		"GET /scans?before=-1":     400,
		"GET /events?limit=2000":   400,
		"GET /events?after=x":      400,
		"GET /events?follow=maybe": 400,
		"GET /events?type=a.%3E":   400,
		"GET /none":                404,
		"DELETE /scans":            405,
		"GET /dead-letters/replay": 405,
	} {
		method, p, _ := strings.Cut(path, " ")
		w := r.ask(method, p, nil)
		if got := decode[api.Problem](t, w, status); got.Status != status || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.letters.list = append(r.letters.list, api.Letter{ID: fmt.Sprint(i), Trigger: "runner", Code: 503, Reason: "why", Event: eventtest.Event(event.ScanRequested, fmt.Sprint(i))})
	}
	if p := decode[api.LetterPage](t, r.ask("GET", "/dead-letters?limit=2", nil), 200); len(p.Letters) != 2 || !p.More || p.Letters[0].Reason != "why" {
		t.Errorf("page %+v", p)
	}
	got := decode[api.Replayed](t, r.ask("POST", "/dead-letters/replay", strings.NewReader(`{"ids":["1","9"]}`)), 200)
	if len(got.Replayed) != 1 || got.Replayed[0] != "1" || got.Failed["9"] == "" {
		t.Errorf("replayed %+v", got)
	}
	if got := decode[api.Replayed](t, r.ask("POST", "/dead-letters/replay", strings.NewReader(`{"all":true}`)), 200); len(got.Replayed) != 2 || got.More {
		t.Errorf("replayed %+v", got)
	}
	for body, status := range map[string]int{
		``: 400, `{}`: 400, `{"all":true,"ids":["1"]}`: 400, `{"al":true}`: 400, `{"all":true} x`: 400, `{"ids":"1"}`: 400,
		`{"ids":["` + strings.Repeat("x", 2<<20) + `"]}`: 413, `{"ids":["x"` + strings.Repeat(`,"x"`, 1000) + `]}`: 413,
	} {
		if w := r.ask("POST", "/dead-letters/replay", strings.NewReader(body)); w.Code != status {
			t.Errorf("%.40s: %d, want %d", body, w.Code, status)
		}
	}
}

func TestFinishedWithoutResult(t *testing.T) {
	r := newRig(t)
	id := scan.Key{Project: "old"}.ID()
	e, err := event.New(event.ScanFinished, event.Source("x"), string(id), "1", eventtest.At(), finding.Result{ScanID: id, Revision: 1, Verdict: finding.Clean})
	must(t, err)
	_, err = r.ledger.Handle(t.Context(), e)
	must(t, err)
	if got := decode[api.ScanState](t, r.ask("GET", "/scans/"+string(id), nil), 200); got.Result != nil || got.Verdict != finding.Clean {
		t.Errorf("%+v", got)
	}
}

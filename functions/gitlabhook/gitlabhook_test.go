package gitlabhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

var update = flag.Bool("update", false, "rewrite the answers and events in testdata/*.txtar")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// recorder is an emitter that keeps what it is given, or fails.
type recorder struct {
	events []ce.Event
	err    error
}

func (r *recorder) Emit(_ context.Context, e ce.Event) error {
	if r.err == nil {
		r.events = append(r.events, e)
	}
	return r.err
}

var _ function.Emitter = (*recorder)(nil)

func config(e function.Emitter) Config {
	return Config{Tokens: []string{"old-token", "new-token"}, Emitter: e, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
}

// TestWebhooks posts the request of each testdata/*.txtar and compares the
// answer and the emitted events with those that stand beside it.
func TestWebhooks(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var r recorder
			w := httptest.NewRecorder()
			Handler(config(&r)).ServeHTTP(w, request(t, string(a.Files[0].Data)))
			got := []txtar.File{a.Files[0],
				{Name: "answer", Data: fmt.Appendf(nil, "%d %s\n", w.Code, strings.TrimSpace(w.Body.String()))},
				{Name: "events", Data: events(t, r.events)}}
			if *update {
				a.Files = got
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(texts(a.Files), texts(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func texts(files []txtar.File) map[string]string {
	m := map[string]string{}
	for _, f := range files {
		m[f.Name] = string(f.Data)
	}
	return m
}

// request reads headers, an empty line and a body, where "@name" stands for a
// file in testdata.
func request(t *testing.T, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	if name, ok := strings.CutPrefix(strings.TrimSpace(body), "@"); ok {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	r := httptest.NewRequest(http.MethodPost, "/gitlab/webhook", strings.NewReader(body))
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Set(name, value)
	}
	return r
}

func events(t *testing.T, list []ce.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range list {
		if err := event.Check(e); err != nil {
			t.Error(err)
		}
		j, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(j, '\n'))
	}
	return b.Bytes()
}

func push(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/webhooks/push.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func post(h http.Handler, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/gitlab/webhook", body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTokens(t *testing.T) {
	for name, test := range map[string]struct {
		tokens []string
		sent   string
		want   int
	}{
		"first":              {[]string{"a", "b"}, "a", 200},
		"second":             {[]string{"a", "b"}, "b", 200},
		"wrong":              {[]string{"a", "b"}, "c", 401},
		"prefix":             {[]string{"abc"}, "ab", 401},
		"none sent":          {[]string{"a"}, "", 401},
		"none configured":    {nil, "", 401},
		"empty is no token":  {[]string{""}, "", 401},
		"both tokens in one": {[]string{"a", "b"}, "a,b", 401},
	} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			c := config(&r)
			c.Tokens = test.tokens
			w := post(Handler(c), strings.NewReader(push(t)), "X-Gitlab-Token", test.sent, "X-Gitlab-Event", "Push Hook")
			if w.Code != test.want || (len(r.events) == 1) != (test.want == 200) {
				t.Errorf("status %d with %d events, want %d", w.Code, len(r.events), test.want)
			}
			if strings.Contains(w.Body.String(), "config") {
				t.Errorf("the answer tells how the server is set up: %s", w.Body)
			}
		})
	}
}

// TestUnauthorizedBodyIsNotRead: a stranger costs no memory.
func TestUnauthorizedBodyIsNotRead(t *testing.T) {
	body := &countingBody{}
	post(Handler(config(&recorder{})), body, "X-Gitlab-Event", "Push Hook")
	if body.reads != 0 {
		t.Errorf("%d reads of the body", body.reads)
	}
}

type countingBody struct{ reads int }

func (c *countingBody) Read(b []byte) (int, error) {
	c.reads++
	return len(b), nil
}

func TestOutcomes(t *testing.T) {
	broken := errors.New("disk full")
	for name, test := range map[string]struct {
		body    io.Reader
		kind    string
		emitErr error
		status  int
		outcome Outcome
	}{
		"accepted":             {strings.NewReader(push(t)), "Push Hook", nil, 200, Accepted},
		"other kind":           {strings.NewReader("{}"), "Pipeline Hook", nil, 202, Ignored},
		"no kind":              {strings.NewReader("{}"), "", nil, 202, Ignored},
		"not stored":           {strings.NewReader(push(t)), "Push Hook", broken, 503, Failed},
		"not JSON":             {strings.NewReader("{"), "Push Hook", nil, 400, Malformed},
		"not JSON, other kind": {strings.NewReader("{"), "Issue Hook", nil, 400, Malformed},
		"empty":                {strings.NewReader(""), "Push Hook", nil, 400, Malformed},
		"too large":            {&countingBody{}, "Push Hook", nil, 413, Malformed},
		"deep":                 {strings.NewReader(strings.Repeat("[", 20000)), "Push Hook", nil, 400, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(&recorder{err: test.emitErr})
			var got []Outcome
			c.Count = func(o Outcome) { got = append(got, o) }
			w := post(Handler(c), test.body, "X-Gitlab-Token", "new-token", "X-Gitlab-Event", test.kind)
			if w.Code != test.status || !cmp.Equal(got, []Outcome{test.outcome}) {
				t.Errorf("status %d, counted %v; want %d, %v", w.Code, got, test.status, test.outcome)
			}
			if strings.Contains(w.Body.String(), "disk full") {
				t.Errorf("the answer tells of our insides: %s", w.Body)
			}
		})
	}
}

func TestMethod(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(config(&recorder{})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/gitlab/webhook", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET answered %d", w.Code)
	}
}

// TestDeliveryIsOneEvent: GitLab sends again what it had no answer for.
func TestDeliveryIsOneEvent(t *testing.T) {
	id := func(header ...string) string {
		var r recorder
		post(Handler(config(&r)), strings.NewReader(push(t)), append(header, "X-Gitlab-Token", "old-token", "X-Gitlab-Event", "Push Hook")...)
		if len(r.events) != 1 {
			t.Fatalf("%d events", len(r.events))
		}
		return r.events[0].ID()
	}
	if a, b := id("Idempotency-Key", "1"), id("Idempotency-Key", "1", "X-Gitlab-Event-UUID", "x"); a != b {
		t.Errorf("one delivery has two IDs, %s and %s", a, b)
	}
	if a, b := id("X-Gitlab-Event-UUID", "1"), id("X-Gitlab-Event-UUID", "2"); a == b {
		t.Errorf("two deliveries have one ID, %s", a)
	}
	if a, b := id(), id(); a != b {
		t.Errorf("one push has two IDs, %s and %s", a, b)
	}
}

func TestReusedKeyIsNoRepetition(t *testing.T) {
	var r recorder
	h := Handler(config(&r))
	other := strings.ReplaceAll(push(t), "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", strings.Repeat("ab", 20))
	for _, body := range []string{push(t), other} {
		post(h, strings.NewReader(body), "Idempotency-Key", "1", "X-Gitlab-Token", "old-token", "X-Gitlab-Event", "Push Hook")
	}
	if len(r.events) != 2 || r.events[0].ID() == r.events[1].ID() {
		t.Errorf("two pushes under one key were taken for one: %v", r.events)
	}
}

func TestInvalidPushes(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"after":         func(p map[string]any) { p["after"] = "master" },
		"after path":    func(p map[string]any) { p["after"] = "../../etc" },
		"before":        func(p map[string]any) { p["before"] = "x" },
		"ref":           func(p map[string]any) { p["ref"] = "master" },
		"ref newline":   func(p map[string]any) { p["ref"] = "refs/heads/a\nb" },
		"type":          func(p map[string]any) { p["project_id"] = "15" },
		"no project ID": func(p map[string]any) { delete(p, "project_id") },
		"no project":    func(p map[string]any) { delete(p, "project") },
		"project path":  func(p map[string]any) { p["project"].(map[string]any)["path_with_namespace"] = "a/../../b" },
		"project ctrl":  func(p map[string]any) { p["project"].(map[string]any)["path_with_namespace"] = "a/b\x1b[2J" },
		"project top":   func(p map[string]any) { p["project"].(map[string]any)["path_with_namespace"] = "b" },
		"web URL":       func(p map[string]any) { p["project"].(map[string]any)["web_url"] = strings.Repeat("x", 3000) },
		"commits":       func(p map[string]any) { p["commits"] = "many" },
	} {
		t.Run(name, func(t *testing.T) {
			var p map[string]any
			if err := json.Unmarshal([]byte(push(t)), &p); err != nil {
				t.Fatal(err)
			}
			change(p)
			if _, err := (Hook{}).Handle(t.Context(), webhook(t, p)); fault.KindOf(err) != fault.Invalid || err == nil {
				t.Errorf("Handle = %v, want invalid", err)
			}
		})
	}
}

func webhook(t testing.TB, payload any) ce.Event {
	t.Helper()
	b, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.New(event.GitLabWebhook, event.Source(Name), "", "1", now, event.Webhook{Kind: "Push Hook", Received: now, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestChangedIsBounded(t *testing.T) {
	var p map[string]any
	if err := json.Unmarshal([]byte(push(t)), &p); err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 3 * maxChanged {
		many = append(many, fmt.Sprintf("dir/%032d", i))
	}
	p["commits"] = []any{nil, map[string]any{"added": append([]string{"../out", "/abs", "a", "a", strings.Repeat("x", maxPath+1)}, many...)}}
	e, err := (Hook{}).Handle(t.Context(), webhook(t, p))
	if err != nil {
		t.Fatal(err)
	}
	data, err := event.Decode[event.Push](*e)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(data.Changed); n < 1000 || n > maxChanged || data.Changed[0] != "a" || data.Changed[1] != many[0] {
		t.Errorf("%d changed paths, from %q", n, data.Changed[:2])
	}
	if len(e.Data()) > 512<<10 {
		t.Errorf("the event has %d bytes", len(e.Data()))
	}
}

func FuzzWebhook(f *testing.F) {
	b, err := os.ReadFile("testdata/webhooks/push.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, "Push Hook", "1")
	f.Add([]byte(`{"after":"0000000000000000000000000000000000000000"}`), "Push Hook", "")
	f.Add([]byte(`{"commits":[null]}`), "Push Hook", "\x00")
	f.Fuzz(func(t *testing.T, body []byte, kind, key string) {
		var r recorder
		w := post(Handler(config(&r)), bytes.NewReader(body), "X-Gitlab-Token", "old-token", "X-Gitlab-Event", kind, "Idempotency-Key", key)
		if (w.Code == 200) != (len(r.events) == 1) || w.Code >= 500 {
			t.Errorf("answered %d with %d events", w.Code, len(r.events))
		}
		for _, e := range r.events {
			if err := event.Check(e); err != nil {
				t.Error(err)
			}
		}
	})
}

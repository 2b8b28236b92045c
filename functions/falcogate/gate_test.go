package falcogate

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// memory is a Store that keeps what it is given.
type memory struct {
	mu   sync.Mutex
	seen map[string]bool
	list []alerts.Item
	err  error
}

func (m *memory) Put(_ context.Context, items []alerts.Item) ([]alerts.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]alerts.Outcome, len(items))
	for i, it := range items {
		d := it.Alert.Digest()
		switch {
		case m.err != nil:
			out[i].Err = m.err
		case m.seen[d]:
			out[i].Status = alerts.Duplicate
		default:
			out[i].Status = alerts.Stored
			m.seen[d] = true
			m.list = append(m.list, it)
		}
	}
	return out, m.err
}

func gate(t testing.TB, s Store, c Config) (*Gate, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	g, err := New(s, c, reg)
	if err != nil {
		t.Fatal(err)
	}
	return g, reg
}

// counts reads the gate's metrics; rejected ones appear as "rejected.reason".
func counts(t testing.TB, reg *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		name := strings.TrimSuffix(strings.TrimPrefix(f.GetName(), "falconer_gate_alerts_"), "_total")
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += "." + l.GetValue()
			}
			if v := int(m.GetCounter().GetValue()); v != 0 {
				got[key] = v
			}
		}
	}
	return got
}

// balanced checks that every alert that came in is accounted for.
func balanced(t testing.TB, got map[string]int) {
	t.Helper()
	sum := 0
	for name, n := range got {
		if name != "received" {
			sum += n
		}
	}
	if got["received"] != sum {
		t.Errorf("received %d, accounted for %d: %v", got["received"], sum, got)
	}
}

func alertJSON(n int) string {
	return fmt.Sprintf(`{"rule":"r","output":"o %d","priority":"Error","time":"2026-11-20T19:23:54Z","output_fields":{"evt.num":%d}}`, n, n)
}

func structuredJSON(n int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"x%d","type":"falco.rule.output.v1","source":"falco.org","data":%s}`, n, alertJSON(n))
}

func TestRequests(t *testing.T) {
	const (
		plain   = "Content-Type: application/json"
		event1  = "Ce-Specversion: 1.0"
		typ     = "Ce-Type: falco.rule.output.v1"
		source  = "Ce-Source: https://falco.org"
		envelop = "Content-Type: application/cloudevents+json; charset=utf-8"
		batch   = "Content-Type: application/cloudevents-batch+json"
	)
	base64Event := fmt.Sprintf(`{"specversion":"1.0","id":"x","type":"falco.rule.output.v1","source":"https://falco.org","data_base64":%q}`, base64.StdEncoding.EncodeToString([]byte(alertJSON(1))))
	tests := map[string]struct {
		method  string
		headers []string
		body    string
		status  int
		want    map[string]int
	}{
		"webhook":            {"", []string{plain}, alertJSON(1), 202, map[string]int{"stored": 1}},
		"webhook charset":    {"", []string{plain + "; charset=utf-8"}, alertJSON(1), 202, map[string]int{"stored": 1}},
		"no content type":    {"", nil, alertJSON(1), 202, map[string]int{"stored": 1}},
		"webhook list":       {"", []string{plain}, "\n [" + alertJSON(1) + "," + alertJSON(2) + "," + alertJSON(1) + "]", 202, map[string]int{"stored": 2, "duplicate": 1}},
		"empty list":         {"", []string{plain}, "[]", 202, map[string]int{}},
		"binary":             {"", []string{plain, event1, typ, source}, alertJSON(1), 202, map[string]int{"stored": 1}},
		"binary old source":  {"", []string{plain, event1, typ, "Ce-Source: falco.org"}, alertJSON(1), 202, map[string]int{"stored": 1}},
		"structured":         {"", []string{envelop}, structuredJSON(1), 202, map[string]int{"stored": 1}},
		"structured base64":  {"", []string{envelop}, base64Event, 202, map[string]int{"stored": 1}},
		"batch":              {"", []string{batch}, "[" + structuredJSON(1) + "," + structuredJSON(2) + "]", 202, map[string]int{"stored": 2}},
		"wrong type":         {"", []string{plain, event1, "Ce-Type: x", source}, alertJSON(1), 400, map[string]int{"rejected.type": 1}},
		"wrong source":       {"", []string{plain, event1, typ, "Ce-Source: https://example.com"}, alertJSON(1), 400, map[string]int{"rejected.source": 1}},
		"wrong version":      {"", []string{plain, "Ce-Specversion: 0.2", typ, source}, alertJSON(1), 400, map[string]int{"rejected.specversion": 1}},
		"no version":         {"", []string{plain, typ, source}, alertJSON(1), 400, map[string]int{"rejected.specversion": 1}},
		"structured version": {"", []string{envelop}, strings.Replace(structuredJSON(1), "1.0", "2.0", 1), 400, map[string]int{"rejected.specversion": 1}},
		"structured type":    {"", []string{envelop}, strings.Replace(structuredJSON(1), "falco.rule", "x", 1), 400, map[string]int{"rejected.type": 1}},
		"structured no data": {"", []string{envelop}, `{"specversion":"1.0","type":"falco.rule.output.v1","source":"falco.org"}`, 400, map[string]int{"rejected.malformed": 1}},
		"structured number":  {"", []string{envelop}, `1`, 400, map[string]int{"rejected.malformed": 1}},
		"xml":                {"", []string{"Content-Type: application/xml"}, "<a/>", 400, map[string]int{"rejected.content_type": 1}},
		"gzip":               {"", []string{plain, "Content-Encoding: gzip"}, "x", 400, map[string]int{"rejected.content_type": 1}},
		"not an alert":       {"", []string{plain}, `{"hello":"world"}`, 400, map[string]int{"rejected.malformed": 1}},
		"empty":              {"", []string{plain}, ``, 400, map[string]int{"rejected.malformed": 1}},
		"bad beside good":    {"", []string{plain}, "[" + alertJSON(1) + `,{"rule":1},` + alertJSON(2) + "]", 400, map[string]int{"stored": 2, "rejected.malformed": 1}},
		"list cut":           {"", []string{plain}, "[" + alertJSON(1), 400, map[string]int{"rejected.malformed": 1}},
		"list and more":      {"", []string{plain}, "[" + alertJSON(1) + "] x", 400, map[string]int{"rejected.malformed": 1}},
		"endless list":       {"", []string{plain}, "[" + strings.Repeat("1,", 200_000) + "1]", 413, map[string]int{"rejected.malformed": 1}},
		"large alert":        {"", []string{plain}, `{"rule":"` + strings.Repeat("r", 1<<20) + `"}`, 413, map[string]int{"rejected.too_large": 1}},
		"large request":      {"", []string{plain}, strings.Repeat(" ", DefaultMaxBody+1), 413, map[string]int{"rejected.too_large": 1}},
		"PUT":                {"PUT", []string{plain}, alertJSON(1), 202, map[string]int{"stored": 1}},
		"GET":                {"GET", nil, "", 405, map[string]int{"rejected.method": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := &memory{seen: map[string]bool{}}
			g, reg := gate(t, store, Config{})
			method := tt.method
			if method == "" {
				method = http.MethodPost
			}
			r := httptest.NewRequest(method, "/falco", strings.NewReader(tt.body))
			for _, h := range tt.headers {
				k, v, _ := strings.Cut(h, ": ")
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status == 202 && w.Body.Len() > 0 {
				t.Errorf("a success has a body, which Knative would retry: %q", w.Body)
			}
			got := counts(t, reg)
			balanced(t, got)
			delete(got, "received")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChunkedOversize(t *testing.T) {
	g, _ := gate(t, &memory{seen: map[string]bool{}}, Config{MaxBody: 1000})
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 2000)))
	r.ContentLength = -1
	w := httptest.NewRecorder()
	if g.ServeHTTP(w, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", w.Code)
	}
}

func TestTokens(t *testing.T) {
	tests := map[string]struct {
		cfg    Config
		auth   string
		cloud  bool
		status int
	}{
		"open gate":                 {Config{}, "", false, 202},
		"open gate, any token":      {Config{}, "Bearer x", false, 202},
		"webhook without":           {Config{Tokens: []string{"a", "b"}, AllowUnauthenticatedCloudEvents: true}, "", false, 401},
		"webhook first":             {Config{Tokens: []string{"a", "b"}}, "Bearer a", false, 202},
		"webhook second, lower":     {Config{Tokens: []string{"a", "b"}}, "bearer b", false, 202},
		"webhook wrong":             {Config{Tokens: []string{"a", "b"}}, "Bearer c", false, 401},
		"webhook prefix":            {Config{Tokens: []string{"abc"}}, "Bearer ab", false, 401},
		"webhook basic":             {Config{Tokens: []string{"a"}}, "Basic a", false, 401},
		"webhook empty token":       {Config{Tokens: []string{"a", ""}}, "Bearer ", false, 401},
		"CloudEvent without":        {Config{Tokens: []string{"a"}}, "", true, 401},
		"CloudEvent without, let":   {Config{Tokens: []string{"a"}, AllowUnauthenticatedCloudEvents: true}, "", true, 202},
		"CloudEvent wrong, let":     {Config{Tokens: []string{"a"}, AllowUnauthenticatedCloudEvents: true}, "Bearer x", true, 401},
		"CloudEvent with its token": {Config{Tokens: []string{"a"}}, "Bearer a", true, 202},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := &memory{seen: map[string]bool{}}
			g, _ := gate(t, store, tt.cfg)
			r := httptest.NewRequest(http.MethodPost, "/falco", strings.NewReader(alertJSON(1)))
			r.Header.Set("Content-Type", "application/json")
			if tt.cloud {
				r.Header.Set("Ce-Specversion", "1.0")
				r.Header.Set("Ce-Type", event.FalcoRuleOutput)
				r.Header.Set("Ce-Source", "https://falco.org")
			}
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != tt.status || (len(store.list) > 0) != (tt.status == 202) {
				t.Errorf("status %d, %d stored; want %d", w.Code, len(store.list), tt.status)
			}
		})
	}
}

func TestStoreAway(t *testing.T) {
	for _, cause := range []error{errors.New("no space"), context.DeadlineExceeded} {
		store := &memory{seen: map[string]bool{}, err: fault.New("store", fault.Transient, cause)}
		g, reg := gate(t, store, Config{})
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(alertJSON(1))))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: status %d, want 503 with Retry-After", cause, w.Code)
		}
		got := counts(t, reg)
		balanced(t, got)
		if got["failed"] != 1 {
			t.Errorf("counted %v", got)
		}
	}
}

func TestHandle(t *testing.T) {
	store := &memory{seen: map[string]bool{}}
	g, reg := gate(t, store, Config{})
	e := ce.New()
	e.SetID("1")
	e.SetType(event.FalcoRuleOutput)
	e.SetSource("https://falco.org")
	if err := e.SetData(ce.ApplicationJSON, json.RawMessage(alertJSON(1))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if reply, err := g.Handle(t.Context(), e); reply != nil || err != nil {
			t.Fatal(reply, err)
		}
	}
	e.SetSource("https://example.com")
	if _, err := g.Handle(t.Context(), e); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a foreign source: %v", err)
	}
	want := map[string]int{"received": 3, "stored": 1, "duplicate": 1, "rejected.source": 1}
	if diff := cmp.Diff(want, counts(t, reg)); diff != "" {
		t.Error(diff)
	}
}

func FuzzServe(f *testing.F) {
	f.Add("application/json", []byte(alertJSON(1)))
	f.Add("application/cloudevents+json", []byte(structuredJSON(1)))
	f.Add("application/cloudevents-batch+json", []byte("["+structuredJSON(1)+"]"))
	f.Add("application/json", []byte("["+alertJSON(1)+",{}]"))
	g, reg := gate(f, &memory{seen: map[string]bool{}}, Config{})
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code >= 500 || (w.Code >= 300 && w.Code < 400) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		balanced(t, counts(t, reg))
	})
}

package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// request is an HTTP request in short: header lines, an empty line, the body.
func request(t testing.TB, method, path, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for line := range strings.Lines(head) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return r
}

const (
	binary     = "ce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\ncontent-type: application/json\n\n{\"a\":1}"
	structured = "content-type: application/cloudevents+json; charset=utf-8\n\n" + one
	one        = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":{"a":1}}`
	two        = `{"specversion":"1.0","id":"2","source":"/s","type":"t","data_base64":"AP8="}`
	batch      = "content-type: application/cloudevents-batch+json\n\n"
)

var refused = map[string]struct {
	text   string
	status int
	reason string
}{
	"nothing":                  {"", 400, "not a CloudEvent"},
	"no id":                    {strings.Replace(binary, "ce-id: 1\n", "", 1), 400, "id"},
	"no source":                {strings.Replace(binary, "ce-source: /s\n", "", 1), 400, "source"},
	"old version":              {strings.Replace(binary, "1.0", "0.3", 1), 400, "specversion"},
	"new version":              {strings.Replace(binary, "1.0", "2.0", 1), 400, "specversion"},
	"repeated header":          {"ce-id: 2\n" + binary, 400, "repeated"},
	"bad time":                 {"ce-time: yesterday\n" + binary, 400, "decode"},
	"bad extension name":       {"ce-a_b: 1\n" + binary, 400, ""},
	"control character":        {strings.Replace(binary, "ce-type: t", "ce-type: t\u0085x", 1), 400, "control character U+0085"},
	"not UTF-8":                {strings.Replace(binary, "ce-type: t", "ce-type: \xff", 1), 400, "UTF-8"},
	"many extensions":          {manyHeaders() + binary, 400, "too many"},
	"large":                    {binary + strings.Repeat(" ", 2000), 413, "at most 1000"},
	"compressed":               {"content-encoding: gzip\n" + binary, 400, "Content-Encoding"},
	"content type":             {strings.Replace(binary, "application/json", "a/b/c;;", 1), 400, "Content-Type"},
	"other format":             {"content-type: application/cloudevents+avro\n\nx", 400, "not supported"},
	"structured, not JSON":     {"content-type: application/cloudevents+json\n\n{", 400, ""},
	"structured, array":        {"content-type: application/cloudevents+json\n\n[]", 400, "not a JSON object"},
	"structured, null":         {"content-type: application/cloudevents+json\n\nnull", 400, "not a JSON object"},
	"structured, trailing":     {structured + "{}", 400, "not one valid JSON value"},
	"structured, old version":  {strings.Replace(structured, "1.0", "0.3", 1), 400, "specversion"},
	"structured, number id":    {strings.Replace(structured, `"id":"1"`, `"id":1`, 1), 400, ""},
	"structured, repeated":     {strings.Replace(structured, `"id":"1"`, `"id":"1","id":"2"`, 1), 400, "repeated"},
	"structured, empty name":   {strings.Replace(structured, `"id":"1"`, `"":1,"id":"1"`, 1), 400, "not an attribute name"},
	"structured, object ext":   {strings.Replace(structured, `"id":"1"`, `"id":"1","x":{"y":1}`, 1), 400, ""},
	"binary, nameless":         {"ce-: 0\n" + binary, 400, "without a name"},
	"structured, short base64": {"content-type: application/cloudevents+json\n\n" + `{"data_base64":1,"specversion":"1.0","id":"1","source":"/s","type":"t"}`, 400, "data_base64"},
	"structured, float ext":    {strings.Replace(structured, `"id":"1"`, `"id":"1","x":1.5`, 1), 400, "neither"},
	"structured, text data":    {strings.Replace(structured, `application/json"`, `text/plain"`, 1), 400, "not a string"},
	"bad data content type":    {strings.Replace(structured, `application/json"`, `text/plain; ==="`, 1), 400, ""},
	"structured, upper ext":    {strings.Replace(structured, `"id":"1"`, `"id":"1","Bad":"y"`, 1), 400, ""},
	"structured, two data":     {strings.Replace(structured, `"data":`, `"data_base64":"AA==","data":`, 1), 400, ""},
	"structured, bad base64":   {"content-type: application/cloudevents+json\n\n" + strings.Replace(two, "AP8=", "###", 1), 400, ""},
	"structured, deep nesting": {strings.Replace(structured, `{"a":1}`, strings.Repeat("[", 400)+strings.Repeat("]", 399), 1), 400, ""},
}

func manyHeaders() string {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "ce-x%d: 1\n", i)
	}
	return b.String()
}

func limits() serve.Options {
	return serve.Options{Limits: serve.Limits{Event: 1000, Batch: 2000, Events: 3}}
}

// reasonOf checks that an error answer is JSON of one line.
func reasonOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct{ Error string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" || strings.ContainsAny(body.Error, "\n\r") {
		t.Errorf("body %q, %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	return body.Error
}

func TestRefusals(t *testing.T) {
	rec := &eventtest.Recorder{}
	handlers := map[string]http.Handler{
		"function": serve.Handler(rec, limits()),
		"broker":   serve.Ingress(map[string]function.Emitter{"ns/b": rec}, limits()),
	}
	for name, tt := range refused {
		for by, h := range handlers {
			t.Run(name+"/"+by, func(t *testing.T) {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, request(t, "POST", "/ns/b", tt.text))
				if w.Code != tt.status {
					t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
				}
				if got := reasonOf(t, w); !strings.Contains(got, tt.reason) {
					t.Errorf("reason %q, want %q in it", got, tt.reason)
				}
			})
		}
	}
	rec.ExpectExactly(t)
}

func TestAccepted(t *testing.T) {
	for name, text := range map[string]string{"binary": binary, "structured": structured} {
		t.Run(name, func(t *testing.T) {
			rec := &eventtest.Recorder{}
			w := httptest.NewRecorder()
			serve.Handler(rec, limits()).ServeHTTP(w, request(t, "POST", "/", text))
			if w.Code != 202 || w.Body.Len() != 0 {
				t.Fatalf("%d %q", w.Code, w.Body)
			}
			e := rec.Events()[0]
			if e.ID() != "1" || e.Source() != "/s" || e.Type() != "t" || string(e.Data()) != `{"a":1}` {
				t.Errorf("got %s", e)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	reply := eventtest.Event("b", "2")
	bad := ce.New()
	tests := map[string]struct {
		answer func() (*ce.Event, error)
		status int
	}{
		"reply":         {func() (*ce.Event, error) { return &reply, nil }, 200},
		"invalid reply": {func() (*ce.Event, error) { return &bad, nil }, 422},
		"transient":     {func() (*ce.Event, error) { return nil, errors.New("a\nb") }, 503},
		"permanent":     {func() (*ce.Event, error) { return nil, fault.Errorf(fault.Permanent, "no") }, 422},
		"panic":         {func() (*ce.Event, error) { panic("oh") }, 503},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) { return tt.answer() })
			w := httptest.NewRecorder()
			serve.Handler(h, limits()).ServeHTTP(w, request(t, "POST", "/", binary))
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if tt.status >= 400 {
				reasonOf(t, w)
				return
			}
			var got ce.Event
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.ID() != "2" || w.Header().Get("Content-Type") != ce.ApplicationCloudEventsJSON {
				t.Errorf("%v %s %v", err, w.Body, w.Header())
			}
		})
	}
}

func TestMethodsAndPaths(t *testing.T) {
	rec := &eventtest.Recorder{}
	in := serve.Ingress(map[string]function.Emitter{"ns/b": rec}, limits())
	tests := []struct {
		h            http.Handler
		method, path string
		status       int
	}{
		{serve.Handler(rec, limits()), "GET", "/", 405}, {in, "GET", "/ns/b", 405}, {in, "OPTIONS", "/ns/b", 200},
		{in, "POST", "/ns/other", 404}, {in, "POST", "/", 404}, {in, "POST", "/ns/b/c", 404}, {in, "POST", "/ns/b/", 202}, {in, "POST", "/ns/b", 202},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		tt.h.ServeHTTP(w, request(t, tt.method, tt.path, binary))
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.status)
		}
	}
}

func TestBatches(t *testing.T) {
	tests := map[string]struct {
		body   string
		fail   string // ID that can't be stored
		status int
		stored []string
		events []int // statuses reported
	}{
		"two":         {"[" + one + "," + two + "]", "", 202, []string{"1", "2"}, nil},
		"empty":       {"[]", "", 202, nil, nil},
		"one is bad":  {"[" + one + `,{"specversion":"1.0"}]`, "", 400, nil, nil},
		"too many":    {"[" + strings.Repeat("0,", 3) + "0]", "", 413, nil, nil},
		"too large":   {"[" + one + strings.Repeat(" ", 2000) + "]", "", 413, nil, nil},
		"no array":    {one, "", 400, nil, nil},
		"full midway": {"[" + one + "," + two + "," + strings.Replace(one, `"id":"1"`, `"id":"3"`, 1) + "]", "2", 503, []string{"1", "2"}, []int{202, 503, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rec := &eventtest.Recorder{Answer: func(_ context.Context, e ce.Event, _ int) (*ce.Event, error) {
				if e.ID() == tt.fail {
					return nil, errors.New("full")
				}
				return nil, nil
			}}
			w := httptest.NewRecorder()
			serve.Ingress(map[string]function.Emitter{"ns/b": rec}, limits()).ServeHTTP(w, request(t, "POST", "/ns/b", batch+tt.body))
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if diff := cmp.Diff(tt.stored, rec.IDs()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			var body struct{ Events []struct{ Status int } }
			_ = json.Unmarshal(w.Body.Bytes(), &body)
			var got []int
			for _, e := range body.Events {
				got = append(got, e.Status)
			}
			if diff := cmp.Diff(tt.events, got); diff != "" {
				t.Errorf("reported (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoteIsTheCounterpartOfHandler(t *testing.T) {
	reply := eventtest.Event("b", "2")
	reply.SetSubject("\u00fcber\u2028")
	answers := map[string]func() (*ce.Event, error){
		"reply":   func() (*ce.Event, error) { return &reply, nil },
		"nothing": func() (*ce.Event, error) { return nil, nil },
		"invalid": func() (*ce.Event, error) { return nil, fault.Errorf(fault.Invalid, "bad") },
		"down":    func() (*ce.Event, error) { return nil, errors.New("down") },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			rec := &eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) { return answer() }}
			srv := httptest.NewServer(serve.Handler(rec, serve.Options{}))
			defer srv.Close()
			sent := eventtest.Event("a", "1")
			got, err := (&serve.Remote{URL: srv.URL, Client: serve.NewClient(5 * time.Second)}).Handle(t.Context(), sent)
			want, wantErr := answer()
			if (got == nil) != (want == nil) || got != nil && got.String() != want.String() {
				t.Errorf("reply %v, want %v", got, want)
			}
			if fault.Retryable(err) != fault.Retryable(wantErr) || serve.StatusOf(err) != fault.Status(wantErr) {
				t.Errorf("error %v (%d), want %v", err, serve.StatusOf(err), wantErr)
			}
			if diff := cmp.Diff(sent.String(), rec.Events()[0].String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := (&serve.Remote{URL: "http://127.0.0.1:1/", Client: serve.NewClient(time.Second)}).Handle(t.Context(), reply); !fault.Retryable(err) {
		t.Errorf("refused connection: %v", err)
	}
}

func TestARemoteThatAnswersWithoutAnEventIsRetried(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer srv.Close()
	_, err := (&serve.Remote{URL: srv.URL, Client: serve.NewClient(time.Second)}).Handle(t.Context(), eventtest.Event("a", "1"))
	if !fault.Retryable(err) {
		t.Errorf("got %v, want a transient error", err)
	}
}

// TestRun starts a server, drains it under load, and sees every request answered.
func TestRun(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	h := function.HandlerFunc(func(context.Context, ce.Event) (*ce.Event, error) {
		close(began)
		time.Sleep(100 * time.Millisecond)
		return nil, nil
	})
	reg := prometheus.NewRegistry()
	meter, err := function.NewMeter(reg, "t")
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Config{
			Listener: ln, Handler: serve.Handler(function.Chain(h, meter.Metrics("f")), serve.Options{}), Metrics: reg, Log: eventtest.Log(t),
			Ready: func(context.Context) error {
				if away.Load() {
					return errors.New("NATS is away")
				}
				return nil
			},
		})
	}()
	url := "http://" + ln.Addr().String()
	get := func(path string) (int, string) {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz %d", code)
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("readyz %d", code)
	}
	away.Store(true)
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "NATS is away") {
		t.Errorf("readyz %d %s", code, body)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		e := eventtest.Event("t", "1")
		if err := (&serve.Sink{URL: url, Client: serve.NewClient(5 * time.Second)}).Emit(context.Background(), e); err != nil {
			t.Errorf("request during drain: %v", err)
		}
	})
	<-began
	if _, body := get("/metrics"); !strings.Contains(body, `falconer_function_received_total{function="f",type="t"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("drain: %v", err)
	}
	wg.Wait()
}

// TestConcurrentCancellation: clients that give up don't block those that don't.
func TestConcurrentCancellation(t *testing.T) {
	h := function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		if e.Type() == "slow" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	})
	srv := httptest.NewServer(serve.Handler(h, serve.Options{}))
	defer srv.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%8)*time.Millisecond+time.Millisecond)
			defer cancel()
			_ = (&serve.Sink{URL: srv.URL, Client: srv.Client()}).Emit(ctx, eventtest.Event("slow", fmt.Sprint(i)))
		})
		wg.Go(func() {
			if err := (&serve.Sink{URL: srv.URL, Client: srv.Client()}).Emit(t.Context(), eventtest.Event("fast", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// FuzzDecode: whatever is posted, the answer is one of ours and what gets
// through is a valid event that survives being sent on.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{binary, structured, batch + "[" + one + "," + two + "]", ""} {
		f.Add(s)
	}
	for _, tt := range refused {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		check := function.EmitterFunc(func(_ context.Context, e ce.Event) error {
			if err := event.Check(e); err != nil {
				t.Errorf("accepted %s: %v", e, err)
			}
			return nil
		})
		w := httptest.NewRecorder()
		serve.Ingress(map[string]function.Emitter{"ns/b": check}, limits()).ServeHTTP(w, request(t, "POST", "/ns/b", text))
		switch w.Code {
		case 202:
			if w.Body.Len() != 0 {
				t.Errorf("202 with body %q", w.Body)
			}
		case 400, 413:
			reasonOf(t, w)
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}

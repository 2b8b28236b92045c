package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// answering starts a server that gives one answer to everything.
func answering(t *testing.T, status int, contentType, body string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return New(s.URL, "", s.Client())
}

func TestErrorAnswers(t *testing.T) {
	for status, want := range map[int]fault.Kind{
		400: fault.Invalid, 401: fault.Unauthorized, 403: fault.Unauthorized, 404: fault.Permanent, 408: fault.Transient,
		413: fault.TooLarge, 422: fault.Permanent, 429: fault.Transient, 500: fault.Transient, 503: fault.Transient,
	} {
		for _, body := range []string{`{"title":"t","status":200,"detail":"d"}`, "<html>", ""} {
			if _, err := answering(t, status, "application/problem+json", body).Scan(t.Context(), "x"); fault.KindOf(err) != want {
				t.Errorf("%d %q: %v, want %v", status, body, err, want)
			}
		}
	}
}

func TestStreams(t *testing.T) {
	const one = "id: 7\nevent: a\ndata: {\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"a\"}\n\n"
	for name, test := range map[string]struct {
		body   string
		events int
		err    string
	}{
		"complete":     {": ok\n\n" + one + one + "event: end\ndata: {}\n\n", 2, ""},
		"broken off":   {one, 1, "broke off"},
		"empty":        {"", 0, "broke off"},
		"not JSON":     {"data: x\n\n", 0, "decode event"},
		"endless line": {"data: " + strings.Repeat("x", maxEvent+1), 0, "token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			var last error
			for e, err := range answering(t, 200, "text/event-stream", test.body).Events(t.Context(), api.Query{Follow: true}) {
				if last = err; err == nil {
					if n++; e.Seq != 7 || e.Event.ID() != "1" {
						t.Errorf("event %+v", e)
					}
				}
			}
			if n != test.events || (last == nil) != (test.err == "") || last != nil && !strings.Contains(last.Error(), test.err) {
				t.Errorf("%d events, %v; want %d, %q", n, last, test.events, test.err)
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	f.Add("id: 7\nevent: a\ndata: {\"specversion\":\"1.0\"}\n\n")
	f.Add("data: \nid: -1\n: x")
	f.Fuzz(func(t *testing.T, body string) {
		for range answering(t, 200, "text/event-stream", body).Events(t.Context(), api.Query{Follow: true}) {
		}
	})
}

func TestReport(t *testing.T) {
	if b, err := answering(t, 200, "application/json", "{}\n").Report(t.Context(), "x", "gitlab"); err != nil || string(b) != "{}\n" {
		t.Errorf("%q, %v", b, err)
	}
	var p api.Problem
	if _, err := answering(t, 409, "application/problem+json", `{"detail":"running"}`).Report(t.Context(), "x", "gitlab"); !errors.As(err, &p) || p.Status != 409 || p.Detail != "running" {
		t.Errorf("%v", err)
	}
}

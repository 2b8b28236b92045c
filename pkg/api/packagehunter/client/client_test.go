package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api/packagehunter/client"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

const id = "2f1b7a52-93a5-5c41-8f1e-0d3b5ad0c001"

// reply is one recorded answer.
type reply struct {
	code       int
	body       string
	retryAfter string
}

// talk plays answers in order and records what was asked.
func talk(t *testing.T, replies ...reply) (*client.Client, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, pass, _ := r.BasicAuth()
		asked = append(asked, strings.Join([]string{r.Method, r.URL.RequestURI(), user, pass, r.Header.Get("Content-Type"), string(body)}, " "))
		if len(asked) > len(replies) {
			t.Errorf("asked once more: %s", asked[len(asked)-1])
			w.WriteHeader(http.StatusTeapot)
			return
		}
		a := replies[len(asked)-1]
		if a.retryAfter != "" {
			w.Header().Set("Retry-After", a.retryAfter)
		}
		w.WriteHeader(a.code)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL + "/", User: "ci", Password: "pw", Pause: time.Millisecond, Poll: time.Millisecond, Tries: 3})
	if err != nil {
		t.Fatal(err)
	}
	return c, &asked
}

func archive() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("tgz")), 3, nil }

func TestSubmit(t *testing.T) {
	for name, tc := range map[string]struct {
		replies []reply
		kind    fault.Kind
		fail    bool
	}{
		"taken in":             {replies: []reply{{200, `{"status":"ok","id":"` + id + `"}`, ""}}},
		"busy at first":        {replies: []reply{{503, `{"status":"error","reason":"busy"}`, ""}, {429, "", ""}, {200, `{"status":"ok","id":"` + id + `"}`, ""}}},
		"busy all the time":    {replies: []reply{{503, "", ""}, {502, "<html>", ""}, {503, "", ""}}, fail: true, kind: fault.Transient},
		"a wrong password":     {replies: []reply{{401, `{"status":"error","reason":"x"}`, ""}}, fail: true, kind: fault.Unauthorized},
		"an unknown manager":   {replies: []reply{{422, `{"status":"error","reason":"x"}`, ""}}, fail: true, kind: fault.Permanent},
		"an error with 200":    {replies: []reply{{200, `{"status":"error","reason":"x"}`, ""}}, fail: true, kind: fault.Permanent},
		"something else's 200": {replies: []reply{{200, `<html>`, ""}}, fail: true, kind: fault.Permanent},
		"a redirect":           {replies: []reply{{302, ``, ""}}, fail: true, kind: fault.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			c, asked := talk(t, tc.replies...)
			got, err := c.Submit(t.Context(), "npm", archive)
			if (err != nil) != tc.fail || err != nil && fault.KindOf(err) != tc.kind || err == nil && got != id {
				t.Errorf("%s, %v", got, err)
			}
			for _, a := range *asked {
				if a != "POST /monitor/project/npm ci pw application/octet-stream tgz" {
					t.Error(a)
				}
			}
			if len(*asked) != len(tc.replies) {
				t.Errorf("asked %d times", len(*asked))
			}
		})
	}
}

func TestWait(t *testing.T) {
	for name, tc := range map[string]struct {
		replies []reply
		verdict finding.Verdict
		alerts  int
		fail    bool
	}{
		"pending, then finished": {replies: []reply{{200, `{"status":"pending","id":"x"}`, ""}, {500, "", ""}, {200, `{"status":"finished","id":"x","result":[{"output":"o","rule":"r","priority":"Notice","time":"2026-03-01T12:00:00Z","output_fields":{}}],"verdict":"suspicious"}`, ""}}, verdict: finding.Suspicious, alerts: 1},
		"inconclusive":           {replies: []reply{{200, `{"status":"error","reason":"r","verdict":"inconclusive"}`, ""}}, verdict: finding.Inconclusive},
		"rejected":               {replies: []reply{{200, `{"status":"error","reason":"r"}`, ""}}, fail: true},
		"nonsense":               {replies: []reply{{200, `{"status":"later"}`, ""}}, fail: true},
		"a real Package Hunter":  {replies: []reply{{200, `{"status":"finished","id":"x","result":[]}`, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := talk(t, tc.replies...)
			a, err := c.Wait(t.Context(), id)
			if (err != nil) != tc.fail || !tc.fail && (a.Verdict != tc.verdict || tc.alerts > 0 && len(*a.Result) != tc.alerts) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func TestEndsWithItsContext(t *testing.T) {
	c, _ := talk(t, reply{503, "", "3600"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"", "falconer.example.com", "ftp://falconer.example.com", "https://u:secret-pw@falconer.example.com", "https://falconer.example.com/?x=1"} {
		if _, err := client.New(client.Config{URL: u}); err == nil || strings.Contains(err.Error(), "secret-pw") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

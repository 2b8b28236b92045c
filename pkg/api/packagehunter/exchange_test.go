package packagehunter_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExchanges plays the recorded conversations of Package Hunter's clients
// with a server. In testdata/*.txt
//
//	>> METHOD PATH, then header lines, then "body FIXTURE"  is sent,
//	<< STATUS, then header lines, then the body's one line   must come back,
//	## WORD                                                  happens on the server.
//
// ID stands for the scan's ID.
func TestExchanges(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t)
			var answer *httptest.ResponseRecorder
			for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
				first, rest, _ := strings.Cut(block, "\n")
				kind, words, _ := strings.Cut(first, " ")
				switch kind {
				case ">>":
					answer = r.send(words, rest)
				case "<<":
					r.compare(answer, words, rest)
				case "##":
					r.happens(words)
				case "#":
				default:
					t.Fatalf("block %q", block)
				}
			}
		})
	}
}

// send sends a recorded request.
func (r *rig) send(first, rest string) *httptest.ResponseRecorder {
	r.t.Helper()
	method, path, _ := strings.Cut(strings.ReplaceAll(first, "ID", string(r.id)), " ")
	var body []byte
	h := http.Header{}
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if fixture, ok := strings.CutPrefix(line, "body "); ok {
			body = r.fixture(fixture)
			continue
		}
		k, v, _ := strings.Cut(line, ": ")
		h.Set(k, v)
	}
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, bytes.NewReader(body))
	req.Header, req.RemoteAddr = h, "192.0.2.7:4711"
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w
}

// compare holds an answer to the recorded one.
func (r *rig) compare(got *httptest.ResponseRecorder, status, rest string) {
	r.t.Helper()
	body := got.Body.String()
	r.learn(body)
	var want strings.Builder
	for line := range strings.Lines(rest) {
		k, v, header := strings.Cut(strings.TrimSpace(line), ": ")
		if !header || strings.HasPrefix(k, "{") {
			want.WriteString(strings.TrimSpace(line))
			continue
		}
		if have := got.Header().Get(k); have != v {
			r.t.Errorf("%s is %q, want %q", k, have, v)
		}
	}
	if r.id != "" {
		body = strings.ReplaceAll(body, string(r.id), "ID")
	}
	if http.StatusText(got.Code) != status || body != want.String() {
		r.t.Errorf("answer %s\n%s\nwant %s\n%s", http.StatusText(got.Code), body, status, want.String())
	}
	if c := got.Header().Get("Content-Type"); c != "application/json; charset=utf-8" {
		r.t.Errorf("Content-Type %q", c)
	}
}

package gitlabhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// sized is a push of n bytes.
func sized(t *testing.T, n int) string {
	t.Helper()
	p := push(t)
	return p + strings.Repeat(" ", n-len(p))
}

// A webhook as large as GitLab makes them is taken, a larger one refused, whether
// or not it says how large it is.
func TestLargestBody(t *testing.T) {
	for size, want := range map[int]int{MaxBody: http.StatusOK, MaxBody + 1: http.StatusRequestEntityTooLarge} {
		body := sized(t, size)
		for kind, from := range map[string]io.Reader{"of known length": strings.NewReader(body), "chunked": io.MultiReader(strings.NewReader(body))} {
			var r recorder
			w := post(Handler(config(&r)), from, "X-Gitlab-Token", "new-token", "X-Gitlab-Event", "Push Hook")
			if w.Code != want || (len(r.events) == 1) != (want == http.StatusOK) {
				t.Errorf("%d bytes, %s: status %d with %d events, want %d", size, kind, w.Code, len(r.events), want)
			}
		}
	}
}

// One large webhook at a time is held in memory; small ones don't wait for it.
func TestLargeBodiesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		h := Handler(config(&r))
		send := func(body io.Reader) *httptest.ResponseRecorder {
			return post(h, body, "X-Gitlab-Token", "new-token", "X-Gitlab-Event", "Push Hook")
		}
		body, sender := io.Pipe()
		first := make(chan int)
		go func() { first <- send(body).Code }()
		synctest.Wait() // it reads
		if w := send(strings.NewReader(sized(t, 2*largeBody))); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("a second one meanwhile: %d %s", w.Code, w.Body)
		}
		if w := send(strings.NewReader(push(t))); w.Code != http.StatusOK {
			t.Errorf("a small one meanwhile: %d %s", w.Code, w.Body)
		}
		go func() {
			_, _ = io.WriteString(sender, push(t))
			_ = sender.Close()
		}()
		if code := <-first; code != http.StatusOK {
			t.Errorf("the first: %d", code)
		}
		if w := send(strings.NewReader(sized(t, 2*largeBody))); w.Code != http.StatusOK {
			t.Errorf("the second, sent again: %d %s", w.Code, w.Body)
		}
	})
}

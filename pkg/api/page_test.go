package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

// A commit status leads to a page that a browser shows, whatever the scan has
// come to.
func TestPage(t *testing.T) {
	var c api.Config
	r := newRig(t, func(x *api.Config) { c = *x })
	s := decode[api.Submission](t, r.submit(archive(t, "app/toy.lock", "good"), "project=local/app"), 202)
	id := string(s.ScanIDs[0])
	mux := http.NewServeMux()
	mux.Handle(api.PagePattern, api.Page(c))
	look := func(path string, status int, says, refresh string) {
		t.Helper()
		req := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080"+path, nil)
		req.RemoteAddr = "127.0.0.1:40000"
		req.Header.Set("Sec-Fetch-Site", "cross-site") // a link at GitLab
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		h := w.Header()
		if w.Code != status || !strings.Contains(w.Body.String(), says) || h.Get("Refresh") != refresh || h.Get("X-Content-Type-Options") != "nosniff" ||
			status == http.StatusOK && !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %v\n%s", path, w.Code, h, w.Body)
		}
	}
	look("/scans/"+id, http.StatusOK, "no verdict yet", "10")
	r.finish(t, s.ScanIDs[0])
	look("/scans/"+id, http.StatusOK, "CLEAN", "")
	look("/scans/"+id, http.StatusOK, "scan "+id, "")
	look("/scans/6a5f977e-fb23-551f-ad2b-f478a7c8be0b", http.StatusNotFound, "no such scan", "")
	look("/scans/nonsense", http.StatusBadRequest, "", "")

	asked := decode[api.Submission](t, r.submit(archive(t, "app/toy.lock", "good", "app/x", "2"), "project=local/app"), 202).ScanIDs[0]
	e, err := event.New(event.ScanRejected, event.Source("runner"), string(asked), "1", eventtest.At(), event.Rejected{ScanID: asked, Project: "local/app", By: "runner", Cause: "1", Reason: "a \x1b[2Jbomb"})
	must(t, err)
	_, err = r.ledger.Handle(t.Context(), e)
	must(t, err)
	look("/scans/"+string(asked), http.StatusOK, `a \x1b[2Jbomb`, "")
}

// A browser asks for the token as a password.
func TestPageNeedsAToken(t *testing.T) {
	var c api.Config
	newRig(t, func(x *api.Config) { c = *x })
	c.Access.Tokens = []string{"the-token"}
	for name, tt := range map[string]struct {
		prove func(*http.Request)
		want  int
	}{
		"nothing":        {func(*http.Request) {}, http.StatusUnauthorized},
		"wrong password": {func(r *http.Request) { r.SetBasicAuth("me", "another") }, http.StatusUnauthorized},
		"token as name":  {func(r *http.Request) { r.SetBasicAuth("the-token", "") }, http.StatusUnauthorized},
		"password":       {func(r *http.Request) { r.SetBasicAuth("me", "the-token") }, http.StatusNotFound},
		"bearer":         {func(r *http.Request) { r.Header.Set("Authorization", "Bearer the-token") }, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "http://falconer.example.com/scans/6a5f977e-fb23-551f-ad2b-f478a7c8be0b", nil)
			req.SetPathValue("id", "6a5f977e-fb23-551f-ad2b-f478a7c8be0b")
			tt.prove(req)
			w := httptest.NewRecorder()
			if api.Page(c).ServeHTTP(w, req); w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if w.Code == http.StatusUnauthorized && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("the browser is not asked for a password: %v", w.Header())
			}
		})
	}
}

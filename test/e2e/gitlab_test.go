package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// hooked is one request to a webhook of the test's.
type hooked struct {
	authorization, key, contentType string
	Type                            string
	Subject                         string
	Data                            json.RawMessage
}

// webhook collects what is posted to it.
type webhook struct {
	mu     sync.Mutex
	status int // answered
	got    []hooked
}

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := hooked{authorization: r.Header.Get("Authorization"), key: r.Header.Get("Idempotency-Key"), contentType: r.Header.Get("Content-Type")}
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		h.Type = "unreadable: " + err.Error()
	}
	w.got = append(w.got, h)
	rw.WriteHeader(w.status)
}

func (w *webhook) all() []hooked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]hooked(nil), w.got...)
}

// payload is a webhook of GitLab's documentation.
func payload(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "functions", "gitlabhook", "testdata", "webhooks", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A push to GitLab becomes a verdict: at the API, in the folder of results and
// at the webhook.
func TestPush(t *testing.T) {
	sink := &webhook{status: http.StatusOK}
	srv := httptest.NewServer(sink)
	defer srv.Close()
	a := newAccount(t)
	const commit = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
	a.put("sources/mike/diaspora/"+commit+".tar.gz", archive(t, "diaspora-"+commit, files{}.under("web", project(t, "stolen-key"))))
	a.env = append(a.env, "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1", "FALCONER_SOURCE_DIR="+filepath.Join(a.home, "sources"), "FALCONER_REPORT_TOKEN=report-token-1")
	s := a.serve("--results="+filepath.Join(a.home, "results"), "--results-formats=gitlab,sarif", "--report-webhook="+srv.URL+"/hook")
	for range 2 { // GitLab sends again what it is not sure of
		code, body := s.post("/gitlab/webhook", payload(t, "push.json"), "Content-Type", "application/json", "X-Gitlab-Event", "Push Hook",
			"X-Gitlab-Token", "hook-token-1", "Idempotency-Key", "8fa9f0a3-6d1c-4a7d-9c5f-0e7f2b1d4c11")
		if code != http.StatusOK || !strings.Contains(body, "accepted") {
			t.Errorf("push: %d %s", code, body)
		}
	}
	if code, body := s.post("/gitlab/webhook", payload(t, "issue.json"), "X-Gitlab-Event", "Issue Hook", "X-Gitlab-Token", "hook-token-1"); code != http.StatusAccepted {
		t.Errorf("an issue: %d %s", code, body)
	}
	var list api.ScanPage
	eventually(t, "the scan is planned", func() (string, bool) {
		var err error
		list, err = s.api.Scans(t.Context(), 0, 10)
		return s.errout.String(), err == nil && len(list.Scans) > 0
	})
	r := s.result(list.Scans[0].ID)
	if r.Project != "mike/diaspora" || r.Commit != commit || r.Ref != "master" || r.Root != "web" || r.Verdict != finding.Malicious {
		t.Errorf("project %q, commit %q, ref %q, root %q, verdict %s", r.Project, r.Commit, r.Ref, r.Root, r.Verdict)
	}
	file := filepath.Join(a.home, "results", string(r.ScanID)+".json")
	eventually(t, "the result is in its folder", func() (string, bool) {
		b, err := os.ReadFile(file)
		return string(b), err == nil && results(t, string(b))[0].Verdict == finding.Malicious
	})
	for _, form := range []string{"gitlab", "sarif"} { // written before it
		beside := strings.TrimSuffix(file, "json") + form + ".json"
		if b, err := os.ReadFile(beside); err != nil || !strings.Contains(string(b), "falconer-corpus-stolen-key") {
			t.Errorf("%s: %v\n%s", beside, err, b)
		}
	}
	eventually(t, "the webhook has the result", func() (string, bool) {
		return s.errout.String(), len(sink.all()) > 0
	})
	h := sink.all()[0]
	if h.Type != "dev.falconer.scan.finished.v1" || h.Subject != string(r.ScanID) || h.authorization != "Bearer report-token-1" || h.key == "" ||
		h.contentType != "application/cloudevents+json" || results(t, string(h.Data))[0].Verdict != finding.Malicious {
		t.Errorf("the webhook got %+v", h)
	}
	// A push whose source is nowhere is rejected, with the reason.
	other := strings.ReplaceAll(string(payload(t, "push.json")), commit, strings.Repeat("ab", 20))
	if code, _ := s.post("/gitlab/webhook", []byte(other), "X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", "hook-token-1"); code != http.StatusOK {
		t.Errorf("push: %d", code)
	}
	eventually(t, "the push without a source is rejected", func() (string, bool) {
		for _, e := range s.events(api.Query{Type: "dev.falconer.scan.rejected.v1"}) {
			return string(e.Event.Data()), strings.Contains(string(e.Event.Data()), "no source archive")
		}
		return s.errout.String(), false
	})
	if n := s.count("repo.push", "mike/diaspora"); n != 2 {
		t.Errorf("%d pushes, want 2", n)
	}
	if n := s.count("sandbox.exited", ""); n != 1 {
		t.Errorf("%d sandboxes, want 1", n)
	}
	s.stop()
}

// What can't be handled for a while ends as a dead letter, which outlives the
// server; replay has it handled once the cause is gone.
func TestReplay(t *testing.T) {
	t.Parallel() // it waits half a minute for the retries to be used up
	a := newAccount(t)
	a.env = append(a.env, "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1")
	args := []string{"--archives=" + filepath.Join(a.home, "not-mounted")}
	s := a.serve(args...)
	if code, _ := s.post("/gitlab/webhook", payload(t, "push.json"), "X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", "hook-token-1"); code != http.StatusOK {
		t.Errorf("push: %d", code)
	}
	var listing outcome
	eventually(t, "the push is a dead letter", func() (string, bool) {
		listing = a.falconer("replay", "--server", s.url)
		return listing.out + listing.errout, listing.code != 0 || strings.Contains(listing.out, "planner")
	})
	if !strings.Contains(listing.out, "repo.push of mike/diaspora") || !strings.Contains(listing.out, "not-mounted") || !strings.HasPrefix(listing.errout, "1 dead letters") {
		t.Fatalf("falconer replay: exit code %d\n%s%s", listing.code, listing.out, listing.errout)
	}
	if o := a.falconer("replay", "--server", s.url, "0123456789abcdef01234567"); o.code != 4 || !strings.Contains(o.errout, "no such") {
		t.Errorf("an unknown letter: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	a.put("not-mounted/mike/diaspora.tgz", archive(t, "diaspora", project(t, "benign-plain")))
	s.signal(os.Kill)
	s.wait()
	s = a.serve(args...)
	letter := strings.Fields(listing.out)[0]
	if o := a.falconer("replay", "--server", s.url, letter); o.code != 0 || !strings.Contains(o.out, "replayed "+letter) {
		t.Errorf("falconer replay %s: exit code %d\n%s%s", letter, o.code, o.out, o.errout)
	}
	eventually(t, "the push leads to a result", func() (string, bool) {
		return s.errout.String(), s.count("scan.finished", "") == 1
	})
	if o := a.falconer("replay", "--server", s.url, "--all"); o.code != 0 || o.out != "" {
		t.Errorf("replay of no letters: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	s.stop()
}

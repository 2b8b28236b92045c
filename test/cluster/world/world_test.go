package world_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

// start runs a world against a gate and a hook that record what they are sent
// and fail as often as they are told.
func start(t *testing.T, failures int) (base string, w *world.World, heard func() []*http.Request) {
	t.Helper()
	var mu sync.Mutex
	var requests []*http.Request
	falconer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		requests = append(requests, r)
	}))
	t.Cleanup(falconer.Close)
	w, err := world.New(world.Config{HookURL: falconer.URL + "/gitlab/webhook", HookToken: "hook", GateURL: falconer.URL + "/falco", GateToken: "gate",
		GitLabToken: "lab", GitLabURL: "http://gitlab.example.com", Client: &http.Client{Timeout: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	control := httptest.NewServer(w.Handler())
	t.Cleanup(control.Close)
	return control.URL, w, func() []*http.Request {
		mu.Lock()
		defer mu.Unlock()
		return requests
	}
}

func post(t *testing.T, url string, in, out any) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}

func TestPushTellsTheHookAndServesTheCommit(t *testing.T) {
	base, w, heard := start(t, 2)
	var done world.Pushed
	post(t, base+"/push", world.Push{Project: "acme/app", Case: "stolen-key"}, &done)
	if done.Status != http.StatusServiceUnavailable {
		t.Errorf("answered %d, the hook said 503", done.Status)
	}
	post(t, base+"/push", world.Push{Project: "acme/app", Case: "stolen-key", Persist: true}, &done)
	got := heard()
	if done.Status != http.StatusOK || len(got) != 1 || got[0].Header.Get("X-Gitlab-Token") != "hook" || got[0].Header.Get("X-Gitlab-Event") != "Push Hook" {
		t.Fatalf("%+v, heard %d", done, len(got))
	}
	lab := httptest.NewServer(w.GitLab())
	defer lab.Close()
	for _, step := range []struct{ method, path, body string }{
		{"GET", "/api/v4/projects/acme%2Fapp/repository/archive.tar.gz?sha=" + done.Commit, ""},
		{"POST", "/api/v4/projects/acme%2Fapp/statuses/" + done.Commit, `{"state":"failed","name":"falconer","ref":"main","description":"malicious"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), step.method, lab.URL+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Private-Token", "lab")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Errorf("%s: %s", step.path, resp.Status)
		}
	}
	resp, err := http.Get(base + "/statuses?project=acme/app&commit=" + done.Commit)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []world.Status
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].State != "failed" || list[0].Received.IsZero() {
		t.Errorf("statuses: %+v", list)
	}
}

func TestAlertsAreAsFalcosidekickSendsThem(t *testing.T) {
	for name, webhook := range map[string]bool{"cloudevents": false, "webhook": true} {
		t.Run(name, func(t *testing.T) {
			base, _, heard := start(t, 0)
			var sent world.Sent
			post(t, base+"/alerts", world.Alerts{Namespace: "n", Pod: "p", First: 5, Count: 10, Webhook: webhook, Twice: true}, &sent)
			if sent.Taken != 20 || sent.Refused != 0 {
				t.Errorf("%+v", sent)
			}
			digests, ids := map[string]bool{}, map[string]bool{}
			for _, r := range heard() {
				raw, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				a, err := falco.Decode(raw)
				if err != nil {
					t.Fatal(err)
				}
				digests[a.Digest()], ids[r.Header.Get("Ce-Id")] = true, true
				if webhook != (r.Header.Get("Authorization") == "Bearer gate") {
					t.Errorf("headers %v", r.Header)
				}
			}
			if len(digests) != 10 || !webhook && len(ids) != 20 {
				t.Errorf("%d alerts under %d event IDs", len(digests), len(ids))
			}
		})
	}
	base, _, _ := start(t, 3)
	var sent world.Sent
	post(t, base+"/alerts", world.Alerts{Count: 10}, &sent)
	if sent.Taken != 7 || sent.Refused != 3 || sent.Last != http.StatusServiceUnavailable {
		t.Errorf("of a gate that refuses three: %+v", sent)
	}
}

func TestReportsAreKeptOnce(t *testing.T) {
	base, _, _ := start(t, 0)
	for _, body := range []string{
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"a"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"a"}`,
		`{"specversion":"1.0","id":"2","source":"/s","type":"t","subject":"b"}`, `not an event`,
	} {
		resp, err := http.Post(base+"/reports", "application/cloudevents+json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if ok := resp.StatusCode == http.StatusOK; ok != strings.HasPrefix(body, "{") {
			t.Errorf("%s: %s", body, resp.Status)
		}
	}
	for query, want := range map[string]int{"": 2, "?subject=a": 1, "?subject=c": 0} {
		resp, err := http.Get(base + "/reports" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var list []json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list) != want {
			t.Errorf("%q: %d reports (%v), want %d", query, len(list), err, want)
		}
	}
}

package binaries_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// TestPushBecomesAScanRequest sends GitLab's own sample through the programs of
// gitlabhook and planner, and its archive through the API's: all three agree.
func TestPushBecomesAScanRequest(t *testing.T) {
	archive := project(t)
	where := filepath.Join(rig.dir, "sources", "mike")
	if err := os.MkdirAll(where, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(where, "diaspora.tgz"), archive, 0o600); err != nil {
		t.Fatal(err)
	}
	sample, err := os.ReadFile("../../functions/gitlabhook/testdata/webhooks/push.json")
	if err != nil {
		t.Fatal(err)
	}
	all := programs()
	hook := start(t, "gitlabhook", all["gitlabhook"].environment())
	plan := start(t, "planner", all["planner"].environment())
	front := start(t, "api", all["api"].environment())

	post(t, hook, "/", http.StatusOK, sample, "application/json", map[string]string{"X-Gitlab-Token": token, "X-Gitlab-Event": "Push Hook"}, nil)
	push := emitted(t, event.RepoPush)
	post(t, plan, "/", http.StatusAccepted, push, ce.ApplicationCloudEventsJSON, nil, nil)
	requested := emitted(t, event.ScanRequested)
	var asked struct{ Data scan.Request }
	if err := json.Unmarshal(requested, &asked); err != nil || asked.Data.Project != "mike/diaspora" || asked.Data.Manager != "npm" {
		t.Fatalf("%s: %v", requested, err)
	}

	bearer := map[string]string{"Authorization": "Bearer " + token}
	post(t, front, "/", http.StatusAccepted, requested, ce.ApplicationCloudEventsJSON, nil, nil)
	var record ledger.Record
	fetch(t, front, api.Prefix+"/scans/"+string(asked.Data.ID), http.StatusOK, bearer, &record)
	if record.Status != ledger.Pending || record.Project != "mike/diaspora" {
		t.Errorf("the ledger has %+v", record)
	}
	var sent api.Submission
	post(t, front, api.Prefix+"/scans?project=mike/diaspora", http.StatusAccepted, archive, "application/gzip", bearer, &sent)
	var uploaded struct{ Data scan.Request }
	if err := json.Unmarshal(emitted(t, event.ScanRequested), &uploaded); err != nil || len(sent.ScanIDs) != 1 || uploaded.Data.ID != sent.ScanIDs[0] ||
		uploaded.Data.Source.Object != asked.Data.Source.Object || uploaded.Data.Rules != asked.Data.Rules {
		t.Errorf("submitted as %+v, requested as %+v (error %v)", sent, uploaded.Data, err)
	}
	fetch(t, front, api.Prefix+"/events", http.StatusUnprocessableEntity, bearer, nil)
	fetch(t, front, api.Prefix+"/dead-letters", http.StatusOK, bearer, nil)
	fetch(t, front, api.Prefix+"/scans", http.StatusUnauthorized, nil, nil)
}

// emitted waits for the next event of a type at the broker.
func emitted(t *testing.T, typ string) []byte {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case body := <-rig.got:
			var e struct{ Type string }
			if json.Unmarshal(body, &e) == nil && e.Type == typ {
				return body
			}
		case <-timeout:
			t.Fatalf("no %s was emitted", typ)
		}
	}
}

func post(t *testing.T, to *process, path string, want int, body []byte, kind string, header map[string]string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+to.address+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	ask(t, to, req, want, header, into)
}

func fetch(t *testing.T, from *process, path string, want int, header map[string]string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+from.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, from, req, want, header, into)
}

func ask(t *testing.T, of *process, req *http.Request, want int, header map[string]string, into any) {
	t.Helper()
	for name, value := range header {
		req.Header.Set(name, value)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s: %s %s (error %v), want %d\n%s", req.Method, req.URL.Path, resp.Status, body, err, want, of.said())
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s %s: %s: %v", req.Method, req.URL.Path, body, err)
		}
	}
}

// project is an archive of an npm project without dependencies.
func project(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"diaspora/package.json":      `{"name":"diaspora","version":"1.0.0"}`,
		"diaspora/package-lock.json": `{"name":"diaspora","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"diaspora","version":"1.0.0"}}}`,
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

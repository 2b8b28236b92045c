package packagehunter_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const (
	ci   = "Authorization: Basic Y2k6Y29ycmVjdC1ob3JzZQ=="
	tgz  = "\nContent-Type: application/octet-stream\nbody project"
	path = "POST /monitor/project/npm"
)

// One upload is one request to scan, of the project at the top.
func TestOneScan(t *testing.T) {
	r := newRig(t)
	for range 3 {
		if w := r.send(path, ci+"\nContent-Type: application/octet-stream\nbody project-and-more"); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	ids := map[string]bool{}
	for _, e := range r.events {
		q, err := event.Decode[scan.Request](e)
		if err != nil || e.Type() != event.ScanRequested || q.Root != "." || q.Manager != "npm" || q.Project != "local/package-hunter/ci" {
			t.Errorf("%s %+v %v", e.Type(), q, err)
		}
		ids[e.ID()] = true
	}
	if len(r.events) != 3 || len(ids) != 1 || len(r.records) != 1 {
		t.Errorf("%d events with %d IDs, %d scans", len(r.events), len(ids), len(r.records))
	}
}

// A manager that is known and not scanned is refused with its reason.
func TestUnscanned(t *testing.T) {
	r := newRig(t)
	r.config.Planner = planner.Planner{Store: store{r}, Managers: managers.All(), Rules: "rules-1", TempDir: t.TempDir()}
	r.config.Managers = nil
	for _, m := range managers.All() {
		r.config.Managers = append(r.config.Managers, m.Name())
	}
	r.server = packagehunter.New(r.config)
	w := r.send("POST /monitor/project/yarn", ci+"\nContent-Type: application/octet-stream\nbody yarn")
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "yarn.lock is found and not scanned") || len(r.records) != 0 {
		t.Errorf("%d %s, %d scans", w.Code, w.Body, len(r.records))
	}
}

// Nothing is taken in by halves: what the broker did not store has no ID.
func TestNotDurable(t *testing.T) {
	r := newRig(t)
	r.happens("the broker fails")
	w := r.send(path, ci+tgz)
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret") || len(r.records) != 0 {
		t.Errorf("%d %s, %d scans", w.Code, w.Body, len(r.records))
	}
}

// Each user has a rate of his own, for uploads and for questions.
func TestRate(t *testing.T) {
	r := newRig(t)
	r.config.UploadRate, r.config.RequestRate = packagehunter.Rate{PerMinute: 2, Burst: 3}, packagehunter.Rate{PerMinute: 60, Burst: 5}
	r.server = packagehunter.New(r.config)
	count := func(first, rest string) (ok, limited int, wait string) {
		for range 10 {
			w := r.send(first, rest)
			switch w.Code {
			case http.StatusOK:
				ok++
			case http.StatusTooManyRequests:
				limited, wait = limited+1, w.Header().Get("Retry-After")
			default:
				t.Error(w.Code, w.Body)
			}
		}
		return ok, limited, wait
	}
	if ok, limited, wait := count(path, ci+tgz); ok != 3 || limited != 7 || wait != "30" {
		t.Errorf("uploads: %d and %d, wait %q", ok, limited, wait)
	}
	if ok, limited, wait := count("GET /?id=x", ci); ok != 5 || limited != 5 || wait != "1" {
		t.Errorf("questions: %d and %d, wait %q", ok, limited, wait)
	}
	if ok, _, _ := count("GET /?id=x", strings.Replace(ci, "Y2k6Y29ycmVjdC1ob3JzZQ==", "ZGV2OmJhdHRlcnktc3RhcGxl", 1)); ok != 5 {
		t.Errorf("another user: %d", ok)
	}
	r.happens("a minute passes")
	if ok, _, _ := count(path, ci+tgz); ok != 2 {
		t.Errorf("uploads a minute later: %d", ok)
	}
}

// Without users this machine may ask, and nobody else.
func TestWithoutUsers(t *testing.T) {
	r := newRig(t)
	r.config.Users = nil
	r.server = packagehunter.New(r.config)
	for remote, want := range map[string]int{"127.0.0.1:4711": http.StatusOK, "192.0.2.7:4711": http.StatusForbidden} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:8080/?id=x", nil)
		req.RemoteAddr = remote
		w := httptest.NewRecorder()
		if r.server.ServeHTTP(w, req); w.Code != want {
			t.Errorf("%s: %d %s", remote, w.Code, w.Body)
		}
	}
}

// A browser on another site can't use a user's remembered password.
func TestOtherSites(t *testing.T) {
	r := newRig(t)
	if w := r.send(path, ci+"\nSec-Fetch-Site: cross-site"+tgz); w.Code != http.StatusForbidden {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The whole result comes with the answer, if it is asked for.
func TestDetail(t *testing.T) {
	r := newRig(t)
	r.learn(r.send(path, ci+tgz).Body.String())
	for _, words := range []string{"something bad is found", "not all was seen", "nothing is found"} {
		r.happens(words)
		var a packagehunter.Answer
		if err := json.Unmarshal(r.send("GET /?id=ID&detail=true", ci).Body.Bytes(), &a); err != nil || a.Scan == nil || a.Scan.Verdict != a.Verdict {
			t.Errorf("%s: %+v, %v", words, a, err)
		}
	}
}

// A finding of which no occurrence was kept is an alert all the same, and what
// is inconclusive is never finished.
func TestNothingIsLost(t *testing.T) {
	r := newRig(t)
	r.learn(r.send(path, ci+tgz).Body.String())
	r.happens("not all was seen")
	result := r.results[r.id]
	result.Findings = []finding.Finding{{Rule: "rule", Priority: finding.Notice, Summary: "something"}}
	result.Finished = time.Now()
	r.results[r.id] = result
	var a packagehunter.Answer
	if err := json.Unmarshal(r.send("GET /?id=ID", ci).Body.Bytes(), &a); err != nil || a.Status != "error" || a.Result == nil || len(*a.Result) != 1 || (*a.Result)[0].Output != "something" {
		t.Errorf("%+v, %v", a, err)
	}
}

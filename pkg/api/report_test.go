package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// result reads one of package report's results, for another scan.
func result(t testing.TB, name string, id scan.ID) finding.Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "report", "testdata", name+".json"))
	must(t, err)
	var r finding.Result
	must(t, json.Unmarshal(b, &r))
	r.ScanID, r.Revision = id, 1
	return r
}

// asked notes a scan request.
func (r *rig) asked(t testing.TB, root string) scan.ID {
	t.Helper()
	req := scan.Request{ID: scan.Key{Project: "local/app", Root: root}.ID(), Project: "local/app", Root: root, Manager: "npm"}
	must(t, r.ledger.Request(t.Context(), req, eventtest.At()))
	return req.ID
}

// end lets a scan end with what is read from a file of package report's.
func (r *rig) end(t testing.TB, id scan.ID, name string) {
	t.Helper()
	res := result(t, name, id)
	must(t, r.results.Put(t.Context(), res))
	r.tell(t, event.ScanFinished, id, res)
}

func (r *rig) tell(t testing.TB, kind string, id scan.ID, data any) {
	t.Helper()
	e, err := event.New(kind, event.Source("correlator"), string(id), event.ID(kind, string(id)), eventtest.At().Add(time.Hour), data)
	must(t, err)
	_, err = r.ledger.Handle(t.Context(), e)
	must(t, err)
}

func path(id scan.ID, query string) string { return "/scans/" + string(id) + "/report?" + query }

func TestReport(t *testing.T) {
	r := newRig(t)
	id := r.asked(t, "web")
	w := r.ask("GET", path(id, "format=gitlab"), nil)
	if p := decode[api.Problem](t, w, http.StatusConflict); w.Header().Get("Retry-After") == "" || !strings.Contains(p.Detail, "pending") {
		t.Errorf("before the end: %v, %+v", w.Header(), p)
	}
	r.end(t, id, "malicious")
	for form, want := range map[string][3]string{
		"gitlab":    {"application/json", "gl-dependency-scanning-report.json", `"packagehunter"`},
		"sarif":     {"application/sarif+json", "falconer.sarif", `"2.1.0"`},
		"osv":       {"application/json", "falconer.osv.json", `"MAL-0000-falconer-`},
		"cyclonedx": {"application/vnd.cyclonedx+json; version=1.6", "falconer.cdx.json", `"1.6"`},
		"json":      {"application/json", "falconer.json", `"schema_version"`},
		"text":      {"text/plain; charset=utf-8", "falconer.txt", "malicious"},
	} {
		w := r.ask("GET", path(id, "format="+form), nil)
		h := w.Header()
		if w.Code != 200 || h.Get("Content-Type") != want[0] || h.Get("Content-Disposition") != `attachment; filename="`+want[1]+`"` ||
			h.Get(api.VerdictHeader) != "malicious" || !strings.Contains(strings.ToLower(w.Body.String()), strings.ToLower(want[2])) {
			t.Errorf("%s: %d, %v\n%.300s", form, w.Code, h, w.Body)
		}
		if again := r.ask("GET", path(id, "format="+form), nil); again.Body.String() != w.Body.String() {
			t.Errorf("%s: asked twice, not the same", form)
		}
	}
	if w := r.ask("HEAD", path(id, "format=gitlab"), nil); w.Code != 200 || w.Header().Get(api.VerdictHeader) != "malicious" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
}

// TestReportOfSeveral: one artifact for all that one archive led to.
func TestReportOfSeveral(t *testing.T) {
	r := newRig(t)
	clean, bad, open := r.asked(t, "."), r.asked(t, "web"), r.asked(t, "slow")
	r.end(t, clean, "clean")
	r.end(t, bad, "malicious")
	both := "format=gitlab&also=" + string(bad) + "&also=" + string(clean)
	w := r.ask("GET", path(clean, both), nil)
	got := decode[gitlabreport.Report](t, w, 200)
	if got.Scan.Status != "success" || len(got.Vulnerabilities) != 3 || w.Header().Get(api.VerdictHeader) != "malicious" {
		t.Errorf("status %s, %d vulnerabilities, %s", got.Scan.Status, len(got.Vulnerabilities), w.Header().Get(api.VerdictHeader))
	}
	if w := r.ask("GET", path(clean, both+"&also="+string(open)), nil); w.Code != http.StatusConflict {
		t.Errorf("one is not over: %d", w.Code)
	}
	r.tell(t, event.ScanRejected, open, event.Rejected{ScanID: open, Project: "local/app", Reason: "a bomb"})
	got = decode[gitlabreport.Report](t, r.ask("GET", path(clean, both+"&also="+string(open)), nil), 200)
	if got.Scan.Status != "failure" || got.Scan.Messages[0].Value != "not scanned: a bomb" {
		t.Errorf("one was rejected: %+v", got.Scan)
	}
	w = r.ask("GET", path(clean, "format=gitlab&incomplete="+url.QueryEscape("web was not sent\x1b")), nil)
	got = decode[gitlabreport.Report](t, w, 200)
	if got.Scan.Status != "failure" || got.Scan.Messages[0].Value != `web was not sent\x1b` || w.Header().Get(api.VerdictHeader) != "inconclusive" {
		t.Errorf("the caller knows of a gap: %+v", got.Scan)
	}
}

func TestReportRefusals(t *testing.T) {
	r := newRig(t)
	done, rejected, expired := r.asked(t, "."), r.asked(t, "web"), r.asked(t, "old")
	r.end(t, done, "clean")
	r.tell(t, event.ScanRejected, rejected, event.Rejected{ScanID: rejected, Project: "local/app", Reason: "a bomb"})
	r.tell(t, event.ScanFinished, expired, result(t, "clean", expired))
	for _, tt := range []struct {
		name, path string
		status     int
		detail     string
	}{
		{"no format", path(done, ""), 400, "format is missing: one of gitlab, sarif, osv, cyclonedx, json, text"},
		{"unknown format", path(done, "format=pdf"), 400, `"pdf" is none of`},
		{"no such scan", path(scan.Key{}.ID(), "format=sarif"), 404, "no such scan"},
		{"no scan ID", path("1", "format=sarif"), 400, "UUID"},
		{"unknown other scan", path(done, "format=sarif&also="+string(scan.Key{}.ID())), 404, "no such scan"},
		{"other is no ID", path(done, "format=sarif&also=../x"), 400, "UUID"},
		{"too many others", path(done, "format=sarif"+strings.Repeat("&also=x", 64)), 400, "more than 63"},
		{"too many reasons", path(done, "format=sarif"+strings.Repeat("&incomplete=x", 51)), 400, "more than 50"},
		{"expired", path(expired, "format=sarif"), 410, "not kept any more"},
		{"json of several", path(done, "format=json&also="+string(rejected)), 400, "shows one scan"},
		{"text with a gap", path(done, "format=text&incomplete=x"), 400, "shows one scan"},
		{"json of a rejection", path(rejected, "format=json"), 422, "a bomb"},
	} {
		if p := decode[api.Problem](t, r.ask("GET", tt.path, nil), tt.status); !strings.Contains(p.Detail, tt.detail) {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
	got := decode[gitlabreport.Report](t, r.ask("GET", path(rejected, "format=gitlab"), nil), 200)
	if got.Scan.Status != "failure" {
		t.Errorf("a rejection is a %s", got.Scan.Status)
	}
}

func TestReportNeedsAuthentication(t *testing.T) {
	r := newRig(t, func(c *api.Config) { c.Access = api.Access{Tokens: []string{"right"}} })
	id := r.asked(t, ".")
	r.end(t, id, "clean")
	if w := r.ask("GET", path(id, "format=gitlab"), nil); w.Code != http.StatusUnauthorized {
		t.Errorf("no token: %d", w.Code)
	}
	if w := r.ask("GET", path(id, "format=gitlab"), nil, "Authorization", "Bearer right"); w.Code != 200 {
		t.Errorf("the token: %d %s", w.Code, w.Body)
	}
}

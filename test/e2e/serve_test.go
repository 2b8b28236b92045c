package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/finding"
)

const terminate = syscall.SIGTERM

// The scan API: an archive comes in, a verdict goes out, the same content is
// scanned once, and the command line shows what flowed.
func TestAPI(t *testing.T) {
	a := newAccount(t)
	s := a.serve("--results=" + filepath.Join(a.home, "results"))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/nothing": 404, "/api/v1/nothing": 404, "/api/v1/scans": 200,
		"/api/v1/scans/6a5f977e-fb23-551f-ad2b-f478a7c8be0b": 404, "/falconer/default": 405, "/falco": 405, "/gitlab/webhook": 405} {
		if code, body := s.get(path); code != want {
			t.Errorf("GET %s: %d, want %d: %s", path, code, want, body)
		}
	}
	first := s.submit("thief", project(t, "stolen-key"), 0)
	r := s.result(first.ID)
	for _, wrong := range shared.cases["stolen-key"].Check(r) {
		t.Error(wrong)
	}
	again := s.submit("thief", project(t, "stolen-key"), 0)
	if again.ID != first.ID || again.Status != "finished" {
		t.Errorf("the same content again: %+v, before %+v", again, first)
	}
	clean := s.submit("clean", project(t, "benign-postinstall"), 0)
	if r := s.result(clean.ID); r.Verdict != finding.Clean {
		t.Errorf("verdict %s: %q", r.Verdict, r.Reasons)
	}
	// Had the first scan been run again, its turn would have been before this one's.
	if n := s.count("sandbox.exited", string(first.ID)); n != 1 {
		t.Errorf("%d sandboxes for one content", n)
	}
	file, err := os.ReadFile(filepath.Join(a.home, "results", string(first.ID)+".json"))
	if err != nil || results(t, string(file))[0].Verdict != finding.Malicious {
		t.Errorf("results: %v, %s", err, file)
	}

	var types []string
	for e, err := range s.api.ScanEvents(t.Context(), first.ID, api.Query{Follow: true}) { // ends: the scan is over
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, strings.TrimSuffix(strings.TrimPrefix(e.Event.Type(), "dev.falconer."), ".v1"))
	}
	if got := strings.Join(types, " "); !strings.HasPrefix(got, "scan.requested scan.started ") || !strings.Contains(got, "sandbox.exited") || !strings.Contains(got, "scan.finished") {
		t.Errorf("the scan's events: %s", got)
	}
	o := a.falconer("events", "--server", s.url, "--scan", string(first.ID))
	if o.code != 0 || strings.Count(o.out, "\n") != len(types) || !strings.Contains(o.out, "scan.finished") {
		t.Errorf("falconer events: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	o = a.falconer("events", "--server", s.url, "--json", "--type=dev.falconer.scan.finished.v1")
	var logged api.Logged
	if err := json.Unmarshal([]byte(strings.SplitN(o.out, "\n", 2)[0]), &logged); err != nil || strings.Count(o.out, "\n") != 2 || logged.Event.Subject() != string(first.ID) {
		t.Errorf("falconer events --json: %v, exit code %d\n%.500s%s", err, o.code, o.out, o.errout)
	}
	follower := a.start("events", "--server", s.url, "--follow")
	eventually(t, "the follower has caught up", func() (string, bool) {
		text := follower.out.String()
		return text, strings.Count(text, "scan.finished") == 2
	})
	if code, _ := s.post("/falco", alert(1, ""), "Content-Type", "application/json"); code != http.StatusAccepted {
		t.Errorf("/falco: %d", code)
	}
	eventually(t, "the follower sees what is new", func() (string, bool) {
		text := follower.out.String()
		return text, strings.Contains(text, "runtime.alert")
	})
	follower.signal(os.Interrupt)
	if o := follower.wait(); o.code != 0 && o.code != 130 || o.errout != "" {
		t.Errorf("falconer events --follow after Ctrl-C: exit code %d: %s", o.code, o.errout)
	}
	s.balanced()
	s.stop()
	if o := a.falconer("events", "--server", s.url); o.code != 4 || !oneLine(o.errout) {
		t.Errorf("falconer events without a server: exit code %d: %s", o.code, o.errout)
	}
}

// Who may ask what.
func TestAccess(t *testing.T) {
	a := newAccount(t)
	secret := a.put("token", []byte("first-token second-token\n"))
	a.env = append(a.env, "FALCONER_API_TOKEN_FILE="+secret, "FALCONER_FALCO_TOKEN=gate-token-1", "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1")
	s := a.serve()
	event := []byte(`{"specversion":"1.0","id":"1","source":"/x","type":"com.example.x"}`)
	structured := "application/cloudevents+json"
	for _, test := range []struct {
		path    string
		body    []byte
		headers []string
		want    int
	}{
		{"/falconer/default", event, []string{"Content-Type", structured}, 401},
		{"/falconer/default", event, []string{"Content-Type", structured, "Authorization", "Bearer gate-token-1"}, 401},
		{"/falconer/default", event, []string{"Content-Type", structured, "Authorization", "Bearer second-token"}, 202},
		{"/falconer/default", event, []string{"Content-Type", structured, "Authorization", "Bearer second-token", "Sec-Fetch-Site", "cross-site"}, 403},
		{"/api/v1/scans?project=local/x", nil, []string{"Content-Type", "application/gzip"}, 401},
		{"/falco", alert(1, ""), []string{"Content-Type", "application/json"}, 401},
		{"/falco", alert(1, ""), []string{"Content-Type", "application/json", "Authorization", "Bearer first-token"}, 401},
		{"/falco", alert(1, ""), []string{"Content-Type", "application/json", "Authorization", "Bearer gate-token-1"}, 202},
		{"/gitlab/webhook", []byte("{}"), []string{"X-Gitlab-Event", "Push Hook"}, 401},
		{"/gitlab/webhook", []byte("{}"), []string{"X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", "hook-token-2"}, 401},
		{"/gitlab/webhook", []byte("{}"), []string{"X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", ""}, 401},
		{"/gitlab/webhook", []byte("{"), []string{"X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", "hook-token-1"}, 400},
	} {
		if code, body := s.post(test.path, test.body, test.headers...); code != test.want {
			t.Errorf("%s %q: %d, want %d: %s", test.path, test.headers, code, test.want, body)
		}
	}
	if o := a.falconer("events", "--server", s.url); o.code != 0 || !strings.Contains(o.out, "com.example.x") {
		t.Errorf("falconer events, with the token's file: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	stranger := newAccount(t)
	if o := stranger.falconer("events", "--server", s.url); o.code != 4 || !strings.Contains(o.errout, "token") || !oneLine(o.errout) {
		t.Errorf("falconer events, without a token: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	if strings.Contains(s.errout.String(), "gate-token") || strings.Contains(s.errout.String(), "hook-token") {
		t.Errorf("the log holds a token:\n%s", s.errout)
	}
	s.stop()
}

// Without tokens only this machine is served, by a loopback name, and not a
// browser that another site steers.
func TestAccessWithoutToken(t *testing.T) {
	a := newAccount(t)
	s := a.serve()
	for _, path := range []string{"/falconer/default", "/falco", "/api/v1/dead-letters/replay"} {
		if code, _ := s.post(path, []byte("{}"), "Content-Type", "application/json", "Host", "rebound.example.com"); code != http.StatusMisdirectedRequest {
			t.Errorf("%s by another name: %d", path, code)
		}
		if code, _ := s.post(path, []byte("{}"), "Content-Type", "application/json", "Origin", "https://evil.example.com"); code != http.StatusForbidden {
			t.Errorf("%s from another site: %d", path, code)
		}
	}
	if code, _ := s.post("/gitlab/webhook", []byte("{}"), "X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", ""); code != http.StatusUnauthorized {
		t.Errorf("a webhook where no token is set: %d", code)
	}
	s.stop()
}

// What serve refuses to start with.
func TestServeRefuses(t *testing.T) {
	a := newAccount(t)
	s := a.serve()
	taken := strings.TrimPrefix(s.url, "http://")
	for name, test := range map[string]struct {
		env  string
		args []string
		says string
	}{
		"a state that is in use":      {"", []string{"--data=" + filepath.Join(a.home, "data")}, "in use by another falconer process"},
		"an address that is taken":    {"", []string{"--listen=" + taken, "--data=" + filepath.Join(a.home, "d2")}, "address already in use"},
		"an address that is none":     {"", []string{"--listen=nonsense", "--data=" + filepath.Join(a.home, "d3")}, "nonsense"},
		"a token that is too short":   {"FALCONER_API_TOKEN=abc", nil, "FALCONER_API_TOKEN"},
		"a token's file that is away": {"FALCONER_API_TOKEN_FILE=/nowhere/token", nil, "FALCONER_API_TOKEN_FILE"},
		"no parallel scans":           {"", []string{"--parallel=0", "--data=" + filepath.Join(a.home, "d4")}, "--parallel"},
		"a state in a file":           {"", []string{"--data=" + a.put("file", nil)}, "file"},
		"a path":                      {"", []string{"somewhere"}, "somewhere"},
		"an unknown form of results":  {"", []string{"--results=" + filepath.Join(a.home, "r"), "--results-formats=pdf", "--data=" + filepath.Join(a.home, "d5")}, "sarif"},
		"forms without a folder":      {"", []string{"--results-formats=sarif", "--data=" + filepath.Join(a.home, "d6")}, "--results"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &account{t: t, home: a.home, tmp: a.tmp, env: append(a.env[:len(a.env):len(a.env)], test.env)}
			o := b.falconer(append([]string{"serve", "--listen=127.0.0.1:0"}, test.args...)...)
			i := strings.Index(o.errout, "falconer: ")
			if o.code != 4 || i < 0 || !oneLine(o.errout[i:]) || !strings.Contains(o.errout[i:], test.says) || strings.Contains(o.errout, "abc") {
				t.Errorf("exit code %d\n%s", o.code, o.errout)
			}
		})
	}
	s.stop()
}

// A server that is asked to stop stops within seconds, and what it was at goes
// on at the next start.
func TestShutdown(t *testing.T) {
	a := newAccount(t)
	f, registry := sleeper(t, 12)
	a.env = append(a.env, "npm_config_registry="+registry)
	s := a.serve()
	id := s.submit("slow", f, time.Minute).ID
	s.status(id, "running")
	s.stop()
	if left := a.processes(); len(left) > 0 {
		t.Errorf("it ended before its processes: %q", left)
	}
	s = a.serve()
	if r := s.result(id); r.Verdict != finding.Clean {
		t.Errorf("verdict %s: %q", r.Verdict, r.Reasons)
	}
	if n := s.count("scan.started", string(id)); n < 1 || n > 2 {
		t.Errorf("started %d times", n)
	}
	if n := s.count("scan.finished", string(id)); n != 1 {
		t.Errorf("finished %d times", n)
	}
	s.stop()
}

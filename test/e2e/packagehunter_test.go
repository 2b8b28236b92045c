package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// What Package Hunter's users have goes on working with another address: their
// user and password, an upload by curl, a poll, and the client's verb in CI.
func TestPackageHunter(t *testing.T) {
	a := newAccount(t)
	made := a.falconer("user", "ci")
	_, password, told := strings.Cut(strings.TrimSpace(made.errout), "once: ")
	if made.code != 0 || !told || strings.Contains(made.out, password) || !strings.HasPrefix(made.out, "ci:") {
		t.Fatalf("falconer user: exit code %d\n%s%s", made.code, made.out, made.errout)
	}
	a.put("users", []byte(made.out))
	a.put("bad.tgz", archive(t, "app", project(t, "stolen-key")))
	good := archive(t, "app", project(t, "benign-plain"))
	a.env = append(a.env, "FALCONER_PACKAGEHUNTER_USERS_FILE="+filepath.Join(a.home, "users"))
	s := a.serve()

	type answer struct {
		Status, ID, Reason string
		Result             *[]struct{ Rule, Priority, Output string }
	}
	ask := func(method, path, password string, body []byte) (code int, out answer) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ci", password)
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	if code, out := ask("GET", "/", "", nil); code != http.StatusOK || out.Status != "error" || out.Reason == "" {
		t.Errorf("GET /: %d %+v", code, out)
	}
	if code, out := ask("POST", "/monitor/project/npm", "not-the-password", good); code != http.StatusUnauthorized || out.Status != "error" {
		t.Errorf("a wrong password: %d %+v", code, out)
	}
	if code, out := ask("POST", "/monitor/project/bundler", password, good); code != http.StatusUnprocessableEntity || !strings.Contains(out.Reason, "bundler") {
		t.Errorf("a manager that the archive has nothing of: %d %+v", code, out)
	}
	code, sent := ask("POST", "/monitor/project/npm", password, good)
	if code != http.StatusOK || sent.Status != "ok" || len(sent.ID) != 36 {
		t.Fatalf("upload: %d %+v", code, sent)
	}
	eventually(t, "the scan is finished", func() (string, bool) {
		code, out := ask("GET", "/?id="+sent.ID, password, nil)
		if code != http.StatusOK || out.Status == "error" {
			t.Fatalf("poll: %d %+v", code, out)
		}
		return s.errout.String(), out.Status == "finished" && out.Result != nil && len(*out.Result) == 0
	})

	analyze := func(args ...string) outcome {
		return a.falconer(append([]string{"analyze", "--server", s.url, "--format", "json", "--manager", "npm", filepath.Join(a.home, "bad.tgz")}, args...)...)
	}
	if o := analyze(); o.code != 4 || !strings.Contains(o.errout, "HTR_user") || o.out != "" {
		t.Errorf("without a user: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	for _, names := range [][2]string{{"HTR_user", "HTR_pass"}, {"HTR_USER", "HTR_PASS"}} {
		env := a.env
		a.env = append(env[:len(env):len(env)], names[0]+"=ci", names[1]+"="+password)
		o := analyze()
		if r := results(t, o.out); o.code != 0 || len(r) != 1 || r[0].Verdict != "malicious" || !strings.Contains(o.errout, "pending") && names[0] == "HTR_user" || strings.Contains(o.errout, password) {
			t.Errorf("%s: exit code %d\n%s%s", names[0], o.code, o.out, o.errout)
		}
		if o := analyze("--format", "gitlab", "--quiet"); o.code != 0 || o.errout != "" || !strings.Contains(o.out, `"packagehunter"`) || !strings.Contains(o.out, `"severity"`) {
			t.Errorf("--format gitlab: exit code %d\n%s%s", o.code, o.out, o.errout)
		}
		if o := analyze("--exit-code"); o.code != 2 {
			t.Errorf("--exit-code: %d\n%s", o.code, o.errout)
		}
		a.env = env
	}
	if _, out := ask("GET", "/?id="+sent.ID, password, nil); out.Status != "finished" {
		t.Errorf("%+v", out)
	}
	if n := s.count("sandbox.exited", ""); n != 2 {
		t.Errorf("%d sandboxes, want 2", n)
	}
	s.stop()
}

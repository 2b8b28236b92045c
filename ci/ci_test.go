// Package ci_test runs the script of the CI template as GitLab's runner would,
// with a fake Falconer on loopback.
package ci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	first  = "3e08ba47-646d-500a-a61d-5c0a89071a7f"
	second = "11111111-2222-5333-8444-555555555555"
	token  = `s3"cr\et`
	branch = "feature/a&strip=true#?+ ü"
)

// job is what the tests look at of a job.
type job struct {
	Image        string
	Script       []string
	Dependencies *[]string
	AllowFailure struct {
		ExitCodes []int `json:"exit_codes"`
	} `json:"allow_failure"`
	Artifacts struct {
		When    string
		Reports struct {
			DependencyScanning string `json:"dependency_scanning"`
		}
	}
}

func template(t *testing.T) job {
	t.Helper()
	text, err := os.ReadFile("falconer.gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Falconer job }
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Falconer
}

// falconer is a fake one.
type falconer struct {
	submit  int      // status of a submission
	answer  string   // body of it
	reports []string // what each question is answered: a status, or a verdict; the last one for ever

	mu    sync.Mutex
	asked []url.Values // questions for the report
	put   url.Values
	files []string
}

func (f *falconer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, `{"title":"Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/scans" && r.Header.Get("Content-Type") == "application/gzip":
		f.put = r.URL.Query()
		f.files = entries(r.Body)
		w.WriteHeader(f.submit)
		_, _ = io.WriteString(w, f.answer)
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/scans/"+first+"/report":
		what := f.reports[min(len(f.asked), len(f.reports)-1)]
		f.asked = append(f.asked, r.URL.Query())
		if status := map[string]int{"pending": 409, "busy": 503, "gone": 410}[what]; status != 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "problem")
			return
		}
		w.Header().Set("Falconer-Verdict", what)
		_, _ = io.WriteString(w, `{"version":"15.2.1"}`)
	default:
		http.NotFound(w, r)
	}
}

// entries lists an archive.
func entries(r io.Reader) (names []string) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return []string{err.Error()}
	}
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				names = append(names, err.Error())
			}
			slices.Sort(names)
			return names
		}
		names = append(names, h.Name)
	}
}

// outcome is what a job left.
type outcome struct {
	code          int
	log, artifact string
}

// run runs the job's script in a checkout.
func run(t *testing.T, env ...string) outcome {
	t.Helper()
	dir, tmp := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"package-lock.json": "{}", "src/index.js": "1", ".git/config": "[core]", ".npmrc": "x", "gl-dependency-scanning-report.json": "old"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Join(template(t).Script, "\n"))
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "FALCONER_POLL=0", "CI_PROJECT_PATH=group/shop", "CI_COMMIT_REF_NAME=" + branch,
		"CI_COMMIT_SHA=da1560886d4f094c3e6c9ef40349f7d38b5d27d7"}, env...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	artifact, err := os.ReadFile(filepath.Join(dir, "gl-dependency-scanning-report.json"))
	if err != nil {
		artifact = nil
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("the token is in the log:\n%s", &log)
	}
	return outcome{cmd.ProcessState.ExitCode(), log.String(), string(artifact)}
}

func accepted(rejected string, ids ...string) string {
	return fmt.Sprintf(`{"scan_ids":["%s"],"scans":[{"scan_id":"%[1]s"}],"rejected":%s}`+"\n", strings.Join(ids, `","`), rejected)
}

func TestJob(t *testing.T) {
	const report = `{"version":"15.2.1"}`
	const refused = "project roots were refused; the job's log names them"
	for _, tt := range []struct {
		name  string
		f     *falconer
		env   []string
		want  outcome // log: a part of it
		asked int
		query url.Values // of the last question
	}{
		{"clean, after a while", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"pending", "busy", "pending", "clean"}}, nil,
			outcome{0, "verdict: clean", report}, 4, url.Values{"format": {"gitlab"}}},
		{"nothing rejected, said as null", &falconer{submit: 202, answer: accepted("null", first), reports: []string{"clean"}}, nil,
			outcome{0, "verdict: clean", report}, 1, url.Values{"format": {"gitlab"}}},
		{"suspicious", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"suspicious"}}, nil, outcome{1, "verdict: suspicious", report}, 1, nil},
		{"malicious", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"malicious"}}, nil, outcome{2, "verdict: malicious", report}, 1, nil},
		{"inconclusive", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"inconclusive"}}, nil, outcome{3, "verdict: inconclusive", report}, 1, nil},
		{"a verdict that it does not know", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"fine"}}, nil, outcome{3, "verdict: fine", report}, 1, nil},
		{"two projects, a third refused", &falconer{submit: 202, answer: accepted(`["web: not a lockfile"]`, first, second), reports: []string{"inconclusive"}}, nil,
			outcome{3, "web: not a lockfile", report}, 1, url.Values{"format": {"gitlab"}, "also": {second}, "incomplete": {refused}}},
		{"nothing to scan", &falconer{submit: 422, answer: "no lockfile"}, nil, outcome{4, "no lockfile", ""}, 0, nil},
		{"no scans", &falconer{submit: 202, answer: `{"scan_ids":[],"rejected":[]}`}, nil, outcome{4, "names no scan", ""}, 0, nil},
		{"wrong token", &falconer{submit: 202}, []string{"FALCONER_TOKEN=other"}, outcome{4, "status 401", ""}, 0, nil},
		{"no token", &falconer{}, []string{"FALCONER_TOKEN="}, outcome{4, "set the CI/CD variables", ""}, 0, nil},
		{"the result expired", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"pending", "gone"}}, nil, outcome{4, "status 410", ""}, 2, nil},
		{"too slow", &falconer{submit: 202, answer: accepted("[]", first), reports: []string{"pending"}}, []string{"FALCONER_TIMEOUT=0"}, outcome{3, "no verdict in 0 seconds", ""}, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.f)
			defer s.Close()
			got := run(t, append([]string{"FALCONER_URL=" + s.URL + "/", "FALCONER_TOKEN=" + token}, tt.env...)...)
			if got.code != tt.want.code || got.artifact != tt.want.artifact || !strings.Contains(got.log, tt.want.log) || len(tt.f.asked) != tt.asked {
				t.Errorf("exit code %d, artifact %q, %d questions; want %d, %q, %d and %q in\n%s", got.code, got.artifact, len(tt.f.asked), tt.want.code, tt.want.artifact, tt.asked, tt.want.log, got.log)
			}
			if tt.query != nil {
				if diff := cmp.Diff(tt.query, tt.f.asked[len(tt.f.asked)-1]); diff != "" {
					t.Errorf("the question (-want +got):\n%s", diff)
				}
			}
			if tt.f.put == nil {
				return
			}
			if diff := cmp.Diff(url.Values{"project": {"group/shop"}, "ref": {branch}, "commit": {"da1560886d4f094c3e6c9ef40349f7d38b5d27d7"}, "strip": {"false"}}, tt.f.put); diff != "" {
				t.Errorf("the submission (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"./", "./.npmrc", "./package-lock.json", "./src/", "./src/index.js"}, tt.f.files); diff != "" {
				t.Errorf("the archive (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServerOutOfReach(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	if got := run(t, "FALCONER_URL="+s.URL, "FALCONER_TOKEN="+token); got.code != 4 || got.artifact != "" || !strings.Contains(got.log, "status 000") {
		t.Errorf("exit code %d, artifact %q\n%s", got.code, got.artifact, got.log)
	}
}

// TestTemplate holds what GitLab does with the job.
func TestTemplate(t *testing.T) {
	j := template(t)
	if j.Image == "" || j.Dependencies == nil || len(*j.Dependencies) != 0 || !slices.Equal(j.AllowFailure.ExitCodes, []int{1}) ||
		j.Artifacts.When != "always" || j.Artifacts.Reports.DependencyScanning != "gl-dependency-scanning-report.json" {
		t.Errorf("%+v", j)
	}
	text, err := os.ReadFile("example/.gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var example struct {
		Include  []struct{ Project, Ref, File string }
		Falconer struct{ Image string }
		Stages   []string
	}
	if err := yaml.Unmarshal(text, &example); err != nil {
		t.Fatal(err)
	}
	if len(example.Include) != 1 || example.Falconer.Image == "" || example.Stages[0] != "test" {
		t.Fatalf("%+v", example)
	}
	if _, err := os.Stat(filepath.Join("..", example.Include[0].File)); err != nil {
		t.Error(err)
	}
}

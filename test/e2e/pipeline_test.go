package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
)

// The CI job that ships, in a checkout of two projects, with a real server:
// one artifact with what either did.
func TestPipeline(t *testing.T) {
	a := newAccount(t)
	const token = "a-token-of-the-pipelines"
	a.env = append(a.env, "FALCONER_API_TOKEN="+token)
	s := a.serve()
	text, err := os.ReadFile("../../ci/falconer.gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct{ Falconer struct{ Script []string } }
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	checkout := files{".git/config": "[core]"}
	for dir, name := range map[string]string{"good": "benign-plain", "bad": "stolen-key"} {
		for file, content := range maps.All(project(t, name)) {
			checkout[dir+"/"+file] = content
		}
	}
	dir := a.write("checkout", checkout)
	script := exec.CommandContext(t.Context(), "sh", "-c", strings.Join(template.Falconer.Script, "\n"))
	script.Dir = dir
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "FALCONER_URL=" + s.url, "FALCONER_TOKEN=" + token, "FALCONER_POLL=1",
		"CI_PROJECT_PATH=group/shop", "CI_COMMIT_REF_NAME=main", "CI_COMMIT_SHA=da1560886d4f094c3e6c9ef40349f7d38b5d27d7"}
	out, _ := script.CombinedOutput() // the exit code is looked at
	var report gitlabreport.Report
	b, err := os.ReadFile(filepath.Join(dir, "gl-dependency-scanning-report.json"))
	if err != nil || json.Unmarshal(b, &report) != nil || script.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "verdict: malicious") {
		t.Fatalf("exit code %d, %v\n%s\n%s\n%s", script.ProcessState.ExitCode(), err, out, b, s.errout)
	}
	if report.Scan.Status != "success" || len(report.Scan.Options) != 6 || len(report.Vulnerabilities) == 0 || report.Vulnerabilities[0].Location.File != "bad/package-lock.json" {
		t.Errorf("%s", b)
	}
}

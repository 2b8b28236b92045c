package registrytest_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

const archive = `
-- one/package.json --
{"name": "one", "version": "1.0.0", "dependencies": {"@s/two": "^2.0.0"}, "bin": "cli.js"}
-- one/cli.js --
#!/usr/bin/env node
console.log("one")
-- one/examples/package.json --
{"private": true}
-- two/package.json --
{"name": "@s/two", "version": "2.1.0", "scripts": {"install": "true"}}
`

func TestRealClient(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal("no npm on this machine: these tests need the real client")
	}
	reg := registrytest.New()
	if ps, err := reg.AddTxtar([]byte(archive)); err != nil || len(ps) != 2 {
		t.Fatalf("AddTxtar: %v, %v", ps, err)
	}
	reg.RequireToken("t")
	address := reg.Start(t)
	install := func(args ...string) (string, string, error) {
		dir := t.TempDir()
		cmd := exec.Command(npm, append([]string{"install", "one@1", "--prefix=" + dir, "--no-audit", "--ignore-scripts", "--fetch-retries=0", "--registry=" + address}, args...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "npm_config_update_notifier=false"}
		out, err := cmd.CombinedOutput()
		return dir, string(out), err
	}
	if _, out, err := install(); err == nil || !strings.Contains(out, "E401") {
		t.Errorf("without a token: %v\n%s", err, out)
	}
	token := "--" + strings.TrimPrefix(address, "http:") + "/:_authToken=t"
	dir, out, err := install(token)
	if err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	for _, f := range []string{"one/examples/package.json", "@s/two/package.json", ".bin/one"} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", f)); err != nil {
			t.Error(err)
		}
	}
	reg.Break("@s/two", registrytest.Fault{Corrupt: true})
	if _, out, err := install(token); err == nil || !strings.Contains(out, "EINTEGRITY") {
		t.Errorf("corrupt archive: %v\n%s", err, out)
	}
}

func TestFaults(t *testing.T) {
	reg := registrytest.New()
	p, err := reg.Add(registrytest.Files{"package.json": `{"name":"a","version":"1.0.0"}`})
	if err != nil {
		t.Fatal(err)
	}
	address := reg.Start(t)
	get := func() (int, int, error) {
		res, err := http.Get(address + "/a/-/a-1.0.0.tgz")
		if err != nil {
			return 0, 0, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, len(b), err
	}
	reg.Break("a", registrytest.Fault{Status: 429, RetryAfter: 1, Times: 1})
	if code, _, err := get(); code != 429 || err != nil {
		t.Errorf("429: %d %v", code, err)
	}
	if code, n, err := get(); code != 200 || n != len(p.Tarball) || err != nil {
		t.Errorf("after the fault is used up: %d, %d bytes, %v", code, n, err)
	}
	reg.Break("a", registrytest.Fault{Truncate: true})
	if _, n, err := get(); err == nil || n >= len(p.Tarball) {
		t.Errorf("truncated: %d bytes, %v", n, err)
	}
	if n := len(reg.Requests()); n != 3 {
		t.Errorf("%d requests logged, want 3", n)
	}
}

func TestAddRefuses(t *testing.T) {
	reg := registrytest.New()
	for _, files := range []registrytest.Files{{}, {"package.json": "{}"}, {"package.json": "nonsense"}} {
		if _, err := reg.Add(files); err == nil {
			t.Errorf("accepted %v", files)
		}
	}
	if _, err := reg.AddFS(fstest.MapFS{"p/package.json": {Data: []byte(`{"name":"x"}`)}}); err == nil {
		t.Error("accepted a package without a version")
	}
}

func TestDeterministic(t *testing.T) {
	files := registrytest.Files{"package.json": `{"name":"a","version":"1.0.0"}`, "x/y": "z"}
	a, _ := registrytest.New().Add(files)
	b, _ := registrytest.New().Add(files)
	if a.Integrity != b.Integrity {
		t.Error("the same files give different integrity")
	}
}

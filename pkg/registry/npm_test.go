package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// npmProgram is the npm to test with: FALCONER_TEST_NPM, else the PATH's.
func npmProgram(t *testing.T) string {
	t.Helper()
	name := os.Getenv("FALCONER_TEST_NPM")
	if name == "" {
		name = "npm"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatal("no npm on this machine: these tests need the real client")
	}
	return program
}

const fixture = `
-- a/package.json --
{"name": "a", "version": "1.0.0", "scripts": {"postinstall": "node -e \"require('fs').writeFileSync('ran','')\""}, "dependencies": {"@acme/b": "^1.0.0"}}
-- a/index.js --
module.exports = 1
-- b1/package.json --
{"name": "@acme/b", "version": "1.0.0"}
-- b2/package.json --
{"name": "@acme/b", "version": "2.0.0"}
-- mac/package.json --
{"name": "only-mac", "version": "1.0.0", "os": ["darwin"]}
-- x/package.json --
{"name": "@my_scope/x", "version": "1.2.3-rc.1"}
`

const fixtureManifest = `{"name": "project", "version": "0.0.0",
 "dependencies": {"a": "1.0.0", "@my_scope/x": "1.2.3-rc.1", "alias": "npm:@acme/b@2.0.0"}, "optionalDependencies": {"only-mac": "1.0.0"}}`

// project writes fixtureManifest and the lockfile that npm itself makes of it.
func project(t *testing.T, address string, keepResolved bool) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "package.json"), fixtureManifest)
	lock(t, dir, address, keepResolved)
	return dir
}

// lock makes npm write dir's lockfile.
func lock(t *testing.T, dir, address string, keepResolved bool) {
	t.Helper()
	cmd := exec.Command(npmProgram(t), "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--registry="+address)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "npm_config_update_notifier=false"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install --package-lock-only: %v\n%s", err, out)
	}
	if !keepResolved {
		var lock map[string]any
		file := filepath.Join(dir, "package-lock.json")
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &lock)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lock["packages"].(map[string]any) {
			if e := e.(map[string]any); e["link"] != true { // a link's says where it leads
				delete(e, "resolved")
			}
		}
		b, _ = json.Marshal(lock)
		write(t, file, string(b))
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ci runs the recipe on a copy of the project, with home as its home folder.
func ci(t *testing.T, p ecosystem.Project, dir, home, base string) (string, error) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "work")
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r := npm.Manager{}.Recipe(p, ecosystem.Setting{Registry: base, Home: home, Work: work})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npmProgram(t), r.Argv[1:]...)
	cmd.Dir = work
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, r.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	for _, f := range []string{"a/ran", "a/index.js", "@acme/b/package.json", "@my_scope/x/package.json", "alias/package.json"} {
		if _, err := os.Stat(filepath.Join(work, "node_modules", f)); err != nil {
			t.Errorf("not installed: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(work, "node_modules/only-mac")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("only-mac: %v, want it left out", err)
	}
	return string(out), nil
}

func load(t *testing.T, dir string) ecosystem.Project {
	t.Helper()
	p, err := npm.Manager{}.Load(os.DirFS(dir), ".")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func publish(t *testing.T, archive string) (*registrytest.Registry, string) {
	t.Helper()
	reg := registrytest.New()
	if _, err := reg.AddTxtar([]byte(archive)); err != nil {
		t.Fatal(err)
	}
	return reg, reg.Start(t)
}

func mirror(t *testing.T, address string, change func(*registry.Options)) *registry.Mirror {
	t.Helper()
	o := registry.Options{Config: registry.Config{Registry: address}, Cache: t.TempDir(), Backoff: time.Millisecond}
	if change != nil {
		change(&o)
	}
	m, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// closedPort is the base of a registry that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return "http://" + ln.Addr().String() + "/"
}

// An install from a prefetched cache makes no request, whether or not the
// lockfile has addresses.
func TestPrefetchedCacheNeedsNoRegistry(t *testing.T) {
	for _, resolved := range []bool{true, false} {
		t.Run(map[bool]string{true: "resolved", false: "no resolved"}[resolved], func(t *testing.T) {
			reg, address := publish(t, fixture)
			dir := project(t, address, resolved)
			p := load(t, dir)
			if len(p.Problems) > 0 {
				t.Errorf("problems: %q", p.Problems)
			}
			home, base := t.TempDir(), closedPort(t)
			m := mirror(t, address, nil)
			got, err := m.Prefetch(t.Context(), p, filepath.Join(home, npm.CacheDir), base)
			if err != nil || len(got.Problems) > 0 || len(got.Fetches) != 4 {
				t.Fatalf("Prefetch = %+v, %v; want 4 fetches", got, err)
			}
			reg.ForgetRequests()
			out, err := ci(t, p, dir, home, base)
			if err != nil {
				t.Fatalf("npm ci: %v\n%s", err, out)
			}
			if strings.Contains(out, "warn") {
				t.Errorf("npm warns:\n%s", out)
			}
			if n := len(reg.Requests()); n > 0 {
				t.Errorf("npm made %d requests", n)
			}

			again, err := m.Prefetch(t.Context(), p, filepath.Join(t.TempDir(), "again"), base)
			if err != nil || len(reg.Requests()) > 0 {
				t.Errorf("second Prefetch: %v, %d requests; want none", err, len(reg.Requests()))
			}
			for _, f := range again.Fetches {
				if !f.Cached || f.Integrity == "" {
					t.Errorf("second Prefetch: %+v, want it cached", f)
				}
			}
		})
	}
}

// Without a prefetched cache everything comes through the proxy.
func TestInstallThroughProxy(t *testing.T) {
	for _, resolved := range []bool{true, false} {
		t.Run(map[bool]string{true: "resolved", false: "no resolved"}[resolved], func(t *testing.T) {
			reg, address := publish(t, fixture)
			dir := project(t, address, resolved)
			p := load(t, dir)
			reg.RequireToken("s3cret") // the sandbox doesn't know it
			m := mirror(t, address, func(o *registry.Options) {
				o.Config.Auth = registry.ParseAuth([]byte(strings.TrimPrefix(address, "http:")+"/:_authToken=${TOKEN}"), []string{"TOKEN=s3cret"})
			})
			srv := httptest.NewUnstartedServer(nil)
			base := "http://" + srv.Listener.Addr().String() + "/"
			proxy := m.Proxy(p, base)
			srv.Config.Handler = proxy
			srv.Start()
			defer srv.Close()
			if out, err := ci(t, p, dir, t.TempDir(), base); err != nil {
				t.Fatalf("npm ci: %v\n%s", err, out)
			}
			fetches, _ := proxy.Fetches()
			archives := 0
			for _, f := range fetches {
				if f.Refused != "" {
					t.Errorf("refused: %+v", f)
				}
				if f.Integrity != "" {
					archives++
				}
			}
			if archives != 4 || len(proxy.Problems()) > 0 {
				t.Errorf("%d archives, problems %q; want 4 and none", archives, proxy.Problems())
			}
		})
	}
}

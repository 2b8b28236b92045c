package registry_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// pinned makes a project whose lockfile pins the given packages.
func pinned(ps ...registrytest.Package) ecosystem.Project {
	var p ecosystem.Project
	for _, r := range ps {
		p.Packages = append(p.Packages, ecosystem.Package{
			Package: finding.Package{Name: r.Name, Version: r.Version, Path: "node_modules/" + r.Name}, Integrity: r.Integrity,
		})
	}
	return p
}

func add(t *testing.T, reg *registrytest.Registry, name, version string) registrytest.Package {
	t.Helper()
	p, err := reg.Add(registrytest.Files{"package.json": fmt.Sprintf(`{"name":%q,"version":%q}`, name, version), "filler": strings.Repeat(name, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func get(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://127.0.0.1:4873/", nil)
	u, err := url.ParseRequestURI(target) // not url.Parse: as a server does
	if err != nil {
		panic(err)
	}
	r.URL = u
	h.ServeHTTP(w, r)
	return w
}

func TestProxyServesAndLogs(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "@acme/b", "1.0.0")
	other := add(t, reg, "other", "2.0.0")
	proxy := mirror(t, reg.Start(t), nil).Proxy(pinned(p), registry.DefaultBase)

	for _, target := range []string{"/@acme%2fb", "/@acme/b"} {
		w := get(proxy, http.MethodGet, target)
		var doc struct {
			Versions map[string]struct{ Dist struct{ Tarball string } }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v", target, w.Code, err)
		}
		if got, want := doc.Versions["1.0.0"].Dist.Tarball, "http://127.0.0.1:4873/@acme/b/-/b-1.0.0.tgz"; got != want {
			t.Errorf("%s: archive at %s, want %s", target, got, want)
		}
	}
	for range 2 {
		if w := get(proxy, http.MethodGet, "/@acme/b/-/b-1.0.0.tgz"); w.Code != 200 || w.Body.String() != string(p.Tarball) {
			t.Errorf("archive: %d, %d bytes", w.Code, w.Body.Len())
		}
	}
	if w := get(proxy, http.MethodHead, "/other/-/other-2.0.0.tgz"); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d with %d bytes of body", w.Code, w.Body.Len())
	}
	fetches, _ := proxy.Fetches()
	last := fetches[len(fetches)-3:]
	for i, want := range []finding.Fetch{
		{Name: "@acme/b", Version: "1.0.0", Size: int64(len(p.Tarball)), Integrity: p.Integrity},
		{Name: "@acme/b", Version: "1.0.0", Size: int64(len(p.Tarball)), Integrity: p.Integrity, Cached: true},
		{Name: "other", Version: "2.0.0", Size: int64(len(other.Tarball)), Integrity: other.Integrity},
	} {
		if last[i] != want {
			t.Errorf("fetch %d: %+v, want %+v", i, last[i], want)
		}
	}
}

func TestProxyRefuses(t *testing.T) {
	reg := registrytest.New()
	add(t, reg, "a", "1.0.0")
	proxy := mirror(t, reg.Start(t), nil).Proxy(ecosystem.Project{}, registry.DefaultBase)
	for _, tt := range []struct {
		method, target string
		want           int
	}{
		{"PUT", "/a", 403}, {"POST", "/-/v1/login", 403}, {"DELETE", "/a", 403}, {"PATCH", "/a", 403}, {"OPTIONS", "/a", 403},
		{"GET", "/-/whoami", 403}, {"GET", "/-/v1/search?text=a", 403}, {"GET", "/-/v1/search", 403}, {"GET", "/-/npm/v1/keys", 403},
		{"POST", "/-/npm/v1/security/advisories/bulk", 404}, {"POST", "/-/npm/v1/security/audits/quick", 404},
		{"GET", "/-/ping", 200},
		{"GET", "/", 403}, {"GET", "/a?write=true", 403}, {"GET", "/a/1.0.0", 403}, {"GET", "/a/-/b-1.0.0.tgz", 403},
		{"GET", "/a/-/a-1.0.0.tgz/..", 403}, {"GET", "/..", 403}, {"GET", "/%2e%2e%2fsecret", 403}, {"GET", "/@a%2f..%2f..%2fb", 403},
		{"GET", "/a%00b", 403}, {"GET", "/a%0d%0aX:y", 403}, {"GET", "//evil.example.com/a", 403}, {"GET", "http://evil.example.com/a", 403}, {"GET", "/@a/b/c", 403},
		{"GET", "/a/-/a-..%2f..%2fx.tgz", 403}, {"GET", "/" + strings.Repeat("a", 2000), 403}, {"GET", "/%252e%252e", 403},
	} {
		if w := get(proxy, tt.method, tt.target); w.Code != tt.want {
			t.Errorf("%s %.60q: %d, want %d", tt.method, tt.target, w.Code, tt.want)
		}
	}
	if n := len(reg.Requests()); n > 0 {
		t.Errorf("%d requests reached the registry: %+v", n, reg.Requests())
	}
	fetches, _ := proxy.Fetches()
	for _, f := range fetches {
		if f.Refused == "" || strings.ContainsAny(f.Name, "\x00\r\n") {
			t.Errorf("logged %+v", f)
		}
	}
}

// What arrives on the socket as bytes: smuggling, floods of headers, other
// hosts. Nothing of it may reach the registry.
func TestProxyRawRequests(t *testing.T) {
	reg := registrytest.New()
	add(t, reg, "a", "1.0.0")
	proxy := mirror(t, reg.Start(t), nil).Proxy(ecosystem.Project{}, registry.DefaultBase)
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(ctx, ln) }()
	for name, raw := range map[string]string{
		"both lengths":    "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
		"two lengths":     "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
		"huge header":     "GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
		"absolute":        "GET http://evil.example.com/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"connect":         "CONNECT evil.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"no host":         "GET /a HTTP/1.1\r\n\r\n",
		"space in header": "GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
		"not http":        "\x16\x03\x01\x00\x00",
		"traversal":       "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			go func() {
				_, _ = io.WriteString(conn, raw) // the server may hang up first
				_ = conn.(*net.UnixConn).CloseWrite()
			}()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return // hung up on: fine
			}
			defer res.Body.Close()
			if res.StatusCode < 400 && name != "both lengths" {
				t.Errorf("answered %s", res.Status)
			}
		})
	}
	for _, r := range reg.Requests() {
		if r.Path != "/a" && r.Path != "/b" || r.Header.Get("Content-Length") != "" || r.Header.Get("X") != "" {
			t.Errorf("reached the registry: %+v", r)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestProxyIntegrity(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "a", "1.0.0")
	reg.Break("a", registrytest.Fault{Corrupt: true})
	proxy := mirror(t, reg.Start(t), nil).Proxy(pinned(p), registry.DefaultBase)
	if w := get(proxy, http.MethodGet, "/a/-/a-1.0.0.tgz"); w.Code != 403 {
		t.Errorf("wrong content: %d, want 403", w.Code)
	}
	if problems := proxy.Problems(); len(problems) != 1 || !strings.Contains(problems[0], "a@1.0.0") {
		t.Errorf("problems %q", problems)
	}
	if f, _ := proxy.Fetches(); f[0].Refused == "" {
		t.Errorf("logged %+v", f)
	}
}

// The proxy heals a damaged cache, or says so offline.
func TestDamagedCache(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "a", "1.0.0")
	cache := t.TempDir()
	address := reg.Start(t)
	use := func(offline bool) http.Handler {
		return mirror(t, address, func(o *registry.Options) { o.Cache, o.Offline = cache, offline }).Proxy(pinned(p), registry.DefaultBase)
	}
	damage := func() {
		err := filepath.Walk(filepath.Join(cache, "_cacache", "content-v2"), func(name string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				err = os.WriteFile(name, []byte("damaged"), 0o600)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	get(use(false), http.MethodGet, "/a/-/a-1.0.0.tgz")
	if w := get(use(true), http.MethodGet, "/a/-/a-1.0.0.tgz"); w.Code != 200 {
		t.Errorf("offline from the cache: %d", w.Code)
	}
	damage()
	if w := get(use(false), http.MethodGet, "/a/-/a-1.0.0.tgz"); w.Body.String() != string(p.Tarball) {
		t.Errorf("after damage: %d", w.Code)
	}
	damage()
	if w := get(use(true), http.MethodGet, "/a/-/a-1.0.0.tgz"); w.Code != http.StatusGatewayTimeout {
		t.Errorf("offline after damage: %d, want 504", w.Code)
	}
}

func TestOfflineProxy(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "a", "1.0.0")
	proxy := mirror(t, reg.Start(t), func(o *registry.Options) { o.Offline = true }).Proxy(pinned(p), registry.DefaultBase)
	if w := get(proxy, http.MethodGet, "/a"); w.Code != 200 || !strings.Contains(w.Body.String(), p.Integrity[7:20]) {
		t.Errorf("the pinned package's document: %d %s", w.Code, w.Body)
	}
	for _, target := range []string{"/b", "/a/-/a-1.0.0.tgz"} {
		if w := get(proxy, http.MethodGet, target); w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "offline") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if len(reg.Requests()) > 0 {
		t.Error("offline, but the registry was asked")
	}
}

// Credentials go to the host they are for, and archives only to hosts that are
// allowed.
func TestRedirectsAndCredentials(t *testing.T) {
	cdn := registrytest.New()
	p := add(t, cdn, "a", "1.0.0")
	cdnAddress := strings.Replace(cdn.Start(t), "127.0.0.1", "localhost", 1)
	reg := registrytest.New()
	add(t, reg, "a", "1.0.0")
	reg.RequireToken("t0ken")
	reg.Break("a", registrytest.Fault{Redirect: cdnAddress + "/a/-/a-1.0.0.tgz?signature=secret"})
	address := reg.Start(t)
	auth := registry.ParseAuth([]byte(strings.TrimPrefix(address, "http:")+"/:_authToken=t0ken"), nil)
	for _, allowed := range []bool{false, true} {
		m := mirror(t, address, func(o *registry.Options) {
			o.Config.Auth = auth
			if allowed {
				o.Hosts = []string{strings.TrimPrefix(cdnAddress, "http://")}
			}
		})
		w := get(m.Proxy(pinned(p), registry.DefaultBase), http.MethodGet, "/a/-/a-1.0.0.tgz")
		if ok := w.Code == 200; ok != allowed {
			t.Errorf("allowed %v: %d %s", allowed, w.Code, w.Body)
		}
		if !allowed && len(cdn.Requests()) > 0 {
			t.Error("a host that is not allowed was contacted")
		}
		if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "t0ken") {
			t.Errorf("the sandbox sees %s", w.Body)
		}
	}
	for _, r := range cdn.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials leaked to another host")
		}
	}
}

func TestUpstreamFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		fault registrytest.Fault
		code  int
	}{
		"busy twice":      {registrytest.Fault{Status: 429, Times: 2}, 200},
		"down once":       {registrytest.Fault{Status: 503, Times: 1}, 200},
		"truncated once":  {registrytest.Fault{Truncate: true, Times: 1}, 200},
		"truncated":       {registrytest.Fault{Truncate: true}, 502},
		"down":            {registrytest.Fault{Status: 500}, 502},
		"forbidden":       {registrytest.Fault{Status: 403, Documents: true}, 502},
		"gone":            {registrytest.Fault{Status: 404, Documents: true}, 404},
		"too large":       {registrytest.Fault{Size: registry.MaxTarball + 1}, 403},
		"loop":            {registrytest.Fault{Redirect: "/a/-/a-1.0.0.tgz", Documents: true}, 502},
		"to a file":       {registrytest.Fault{Redirect: "file:///etc/passwd", Documents: true}, 403},
		"to another host": {registrytest.Fault{Redirect: "http://127.0.0.1:1/", Documents: true}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.New()
			p := add(t, reg, "a", "1.0.0")
			reg.Break("a", tt.fault)
			m := mirror(t, reg.Start(t), nil)
			w := get(m.Proxy(pinned(p), registry.DefaultBase), http.MethodGet, "/a/-/a-1.0.0.tgz")
			if w.Code != tt.code {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.code)
			}
		})
	}
}

func TestPrefetchFaults(t *testing.T) {
	reg := registrytest.New()
	good, bad, gone := add(t, reg, "good", "1.0.0"), add(t, reg, "bad", "1.0.0"), registrytest.Package{Name: "gone", Version: "1.0.0"}
	down := add(t, reg, "down", "1.0.0")
	reg.Break("bad", registrytest.Fault{Corrupt: true})
	reg.Break("down", registrytest.Fault{Status: 503, Documents: true})
	address := reg.Start(t)

	got, err := mirror(t, address, nil).Prefetch(t.Context(), pinned(good, bad, gone), t.TempDir(), registry.DefaultBase)
	if err != nil || len(got.Problems) != 2 || !strings.HasPrefix(got.Problems[0], "bad@1.0.0: ") || !strings.HasPrefix(got.Problems[1], "gone@1.0.0: ") {
		t.Errorf("problems %q, %v; want one for bad and one for gone", got.Problems, err)
	}

	if _, err := mirror(t, address, nil).Prefetch(t.Context(), pinned(good, down), t.TempDir(), registry.DefaultBase); !fault.Retryable(err) {
		t.Errorf("registry down: %v, want a transient error", err)
	}

	optional := pinned(good, down)
	optional.Packages[1].Optional = true
	if got, err := mirror(t, address, nil).Prefetch(t.Context(), optional, t.TempDir(), registry.DefaultBase); err != nil || len(got.Problems) > 0 {
		t.Errorf("optional package down: %v %q, want neither", err, got.Problems)
	}

	offline := mirror(t, address, func(o *registry.Options) { o.Offline = true })
	_, err = offline.Prefetch(t.Context(), pinned(good, bad), t.TempDir(), registry.DefaultBase)
	if !errors.Is(err, registry.ErrOffline) || fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), "bad@1.0.0, good@1.0.0") {
		t.Errorf("offline: %v, want ErrOffline that lists both", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mirror(t, address, nil).Prefetch(ctx, pinned(good), t.TempDir(), registry.DefaultBase); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The cache that npm itself has filled suffices offline, read-only.
func TestExtraCache(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "a", "1.0.0")
	address := reg.Start(t)
	theirs := t.TempDir()
	if _, err := mirror(t, address, func(o *registry.Options) { o.Cache = theirs }).Prefetch(t.Context(), pinned(p), t.TempDir(), registry.DefaultBase); err != nil {
		t.Fatal(err)
	}
	ours := t.TempDir()
	m := mirror(t, address, func(o *registry.Options) { o.Cache, o.Offline, o.Extra = ours, true, []string{theirs} })
	got, err := m.Prefetch(t.Context(), pinned(p), t.TempDir(), registry.DefaultBase)
	if err != nil || len(got.Fetches) != 1 || !got.Fetches[0].Cached {
		t.Errorf("Prefetch = %+v, %v", got, err)
	}
}

func TestSHA1Integrity(t *testing.T) {
	reg := registrytest.New()
	p := add(t, reg, "old", "0.1.0")
	project := pinned(p)
	project.Packages[0].Integrity = registry.SHA1Integrity(p.Shasum)
	got, err := mirror(t, reg.Start(t), nil).Prefetch(t.Context(), project, t.TempDir(), registry.DefaultBase)
	if err != nil || got.Fetches[0].Integrity != project.Packages[0].Integrity {
		t.Errorf("Prefetch = %+v, %v", got, err)
	}
}

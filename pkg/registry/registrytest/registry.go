// Package registrytest is an npm registry in memory, for tests and demos.
//
// It serves package documents and archives that the real npm client installs,
// keeps a log of requests, and misbehaves on demand: statuses, delays,
// truncated or wrong archives, required credentials.
//
//	reg := registrytest.New()
//	reg.Add(registrytest.Files{"package.json": `{"name":"a","version":"1.0.0"}`})
//	url := reg.Start(t)
package registrytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Package is one published version.
type Package struct {
	Name      string
	Version   string
	Tarball   []byte
	Integrity string // of the tarball: "sha512-..."
	Shasum    string // SHA-1 of the tarball, in hex
	manifest  map[string]any
}

// path is the archive's address, relative to the registry.
func (p Package) path() string {
	base := p.Name[strings.IndexByte(p.Name, '/')+1:]
	return "/" + p.Name + "/-/" + base + "-" + p.Version + ".tgz"
}

// Registry is an npm registry. It is an http.Handler, safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	packages map[string][]Package
	faults   map[string]*Fault
	token    string
	fallback http.Handler
	requests []Request
	archives string // base of the archives' addresses, "" for the registry itself
}

var _ http.Handler = (*Registry)(nil)

// New returns an empty registry.
func New() *Registry {
	return &Registry{packages: map[string][]Package{}, faults: map[string]*Fault{}}
}

// Start serves r on a loopback port until the test ends, and returns the
// registry's address without a trailing slash.
func (r *Registry) Start(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv.URL
}

// RequireToken makes every request need "Authorization: Bearer token".
func (r *Registry) RequireToken(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = token
}

// Fallback answers requests for packages that r does not have.
func (r *Registry) Fallback(h http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fallback = h
}

// ArchivesAt makes package documents name archives at another base address, as
// registries in front of a content network do.
func (r *Registry) ArchivesAt(base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.archives = strings.TrimSuffix(base, "/")
}

// ServeHTTP answers as an npm registry does.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() { r.record(req, rec.status) }()
	name, file, ok := parse(req.URL.Path)
	switch {
	case !r.authorized(req):
		http.Error(rec, `{"error":"authentication required"}`, http.StatusUnauthorized)
	case !ok || req.Method != http.MethodGet && req.Method != http.MethodHead:
		http.Error(rec, `{"error":"no such endpoint"}`, http.StatusNotFound)
	default:
		f, faulty := r.fault(name, file != "")
		if faulty && f.refuse(rec, req) {
			return
		}
		r.serve(rec, req, name, file, f)
	}
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request, name, file string, f Fault) {
	r.mu.Lock()
	versions, fallback, archives := r.packages[name], r.fallback, r.archives
	r.mu.Unlock()
	if len(versions) == 0 && fallback != nil {
		fallback.ServeHTTP(w, req)
		return
	}
	if archives == "" {
		archives = "http://" + req.Host
	}
	if file == "" && len(versions) > 0 {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document(versions, archives)) // the client may hang up
		return
	}
	for _, p := range versions {
		if strings.HasSuffix(p.path(), "/-/"+file) {
			f.send(w, req, p.Tarball)
			return
		}
	}
	http.Error(w, `{"error":"not found"}`, http.StatusNotFound)
}

// parse splits a path into the package's name and its archive's file name.
func parse(p string) (name, file string, ok bool) {
	name, file, _ = strings.Cut(strings.TrimPrefix(p, "/"), "/-/")
	name, err := url.PathUnescape(name)
	slashes := strings.Count(name, "/")
	return name, file, err == nil && name != "" && (slashes == 0 || slashes == 1 && name[0] == '@')
}

func (r *Registry) authorized(req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.token == "" || req.Header.Get("Authorization") == "Bearer "+r.token
}

// document is the package document of some versions, the last one tagged
// latest.
func document(versions []Package, base string) map[string]any {
	list, times := map[string]any{}, map[string]string{}
	for _, p := range versions {
		m := map[string]any{}
		for k, v := range p.manifest {
			m[k] = v
		}
		m["_id"] = p.Name + "@" + p.Version
		m["dist"] = map[string]any{"tarball": base + p.path(), "integrity": p.Integrity, "shasum": p.Shasum}
		if hasInstallScript(p.manifest) {
			m["hasInstallScript"] = true
		}
		list[p.Version] = m
		times[p.Version] = "2020-01-01T00:00:00.000Z"
	}
	last := versions[len(versions)-1]
	return map[string]any{"name": last.Name, "dist-tags": map[string]string{"latest": last.Version}, "versions": list, "time": times}
}

func hasInstallScript(manifest map[string]any) bool {
	scripts, _ := manifest["scripts"].(map[string]any)
	for _, event := range []string{"preinstall", "install", "postinstall"} {
		if _, ok := scripts[event]; ok {
			return true
		}
	}
	return manifest["gypfile"] == true
}

// Get returns a published version.
func (r *Registry) Get(name, version string) (Package, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.packages[name] {
		if p.Version == version {
			return p, nil
		}
	}
	return Package{}, fmt.Errorf("registrytest: %s@%s is not published", name, version)
}

// HasInstallScript reports whether npm runs something when it installs p.
func (p Package) HasInstallScript() bool { return hasInstallScript(p.manifest) }

// Dependencies returns what p's manifest depends on, nil for nothing.
func (p Package) Dependencies() map[string]string {
	deps, _ := p.manifest["dependencies"].(map[string]any)
	if len(deps) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, spec := range deps {
		out[name] = fmt.Sprint(spec)
	}
	return out
}

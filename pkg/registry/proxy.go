package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Proxy answers one sandbox's registry requests. It is an http.Handler; Serve
// runs it on a listener. Its log is read with Fetches and Problems, at any
// time.
type Proxy struct {
	m        *Mirror
	base     string
	pins     map[string][]pin // by name
	paths    map[string]pin   // by the lockfile's own path, where it isn't the usual one
	log      fetchLog
	requests atomic.Int64
	slots    chan struct{}
}

var _ http.Handler = (*Proxy)(nil)

// Proxy returns a proxy for the sandbox that installs p, in which it is
// reached as base (DefaultBase). What p pins is served with the pinned content
// only; other packages are served too, and logged.
func (m *Mirror) Proxy(p ecosystem.Project, base string) *Proxy {
	x := &Proxy{m: m, base: base, pins: map[string][]pin{}, paths: map[string]pin{}, slots: make(chan struct{}, 2*concurrency)}
	for _, pkg := range p.Packages {
		if !pkg.Link && !pkg.Bundled && !pkg.Foreign && pkg.Version != "" {
			p := pinOf(pkg)
			x.pins[p.name] = append(x.pins[p.name], p)
			if u, err := url.Parse(p.resolved); err == nil && u.Path != "" {
				x.paths[u.EscapedPath()] = p // npm keeps the path and replaces the host
			}
		}
	}
	return x
}

// Fetches returns what was asked for so far, refusals included, in order of
// completion; unlisted counts what exceeded MaxFetches.
func (x *Proxy) Fetches() (fetches []finding.Fetch, unlisted int) {
	fetches, unlisted, _ = x.log.list()
	return fetches, unlisted
}

// Problems returns what makes the install untrustworthy: content that was not
// the pinned one, requests beyond MaxRequests.
func (x *Proxy) Problems() []string {
	_, _, problems := x.log.list()
	return problems
}

// ServeHTTP answers GET and HEAD of package documents and archives. Audit
// requests get an empty answer; everything else is refused.
func (x *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n := x.requests.Add(1); n > MaxRequests {
		if n == MaxRequests+1 {
			x.log.problem(fmt.Sprintf("the sandbox made more than %d registry requests", MaxRequests))
		}
		answer(w, http.StatusTooManyRequests, "too many requests")
		return
	}
	escaped := r.URL.EscapedPath()
	switch {
	case r.URL.Host != "" || r.Method == http.MethodConnect:
		x.refuse(w, r, "this is a registry, not a proxy for other addresses")
		return
	case strings.HasPrefix(escaped, "/-/npm/v1/security/"):
		answer(w, http.StatusNotFound, "audits are not served") // npm copes; nothing leaves
		return
	case escaped == "/-/ping" && r.Method == http.MethodGet:
		writeJSON(w, r, []byte("{}"))
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.refuse(w, r, "only reading is allowed")
		return
	case r.URL.RawQuery != "":
		x.refuse(w, r, "a query is not part of the registry protocol")
		return
	}
	p, pinned := x.paths[escaped]
	if !pinned {
		req, err := ParsePath(escaped)
		if err != nil {
			x.refuse(w, r, "only packages and their archives are served")
			return
		}
		p = x.pinOf(req)
	}
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-r.Context().Done():
		return
	}
	if p.version == "" {
		x.document(w, r, p.name)
	} else {
		x.archive(w, r, p)
	}
}

// pinOf returns what the lockfile pins of a request, or the bare request.
func (x *Proxy) pinOf(req Request) pin {
	for _, known := range x.pins[req.Name] {
		if known.version == req.Version {
			return known
		}
	}
	return pin{name: req.Name, version: req.Version}
}

// refuse answers 403 and logs the request by what it asked for.
func (x *Proxy) refuse(w http.ResponseWriter, r *http.Request, why string) {
	x.log.fetch(finding.Fetch{Name: clip(r.Method + " " + r.URL.Host + r.URL.EscapedPath()), Refused: why})
	answer(w, http.StatusForbidden, why)
}

// clip bounds what a request may put into the log and makes it printable.
func clip(s string) string {
	q := strconv.QuoteToASCII(s[:min(len(s), 200)])
	return q[1 : len(q)-1]
}

func (x *Proxy) document(w http.ResponseWriter, r *http.Request, name string) {
	doc, err := x.fetchDocument(r.Context(), name, r.Header.Get("Accept"))
	entry := finding.Fetch{Name: name, Size: int64(len(doc)), Cached: err == nil && x.m.offline}
	if err != nil {
		entry.Refused = err.Error()
		x.log.fetch(entry)
		x.fail(w, name, err)
		return
	}
	x.log.fetch(entry)
	writeJSON(w, r, doc)
}

// fetchDocument returns the registry's document, or offline one that has just
// what the lockfile pins.
func (x *Proxy) fetchDocument(ctx context.Context, name, accept string) ([]byte, error) {
	if pins := x.pins[name]; x.m.offline && len(pins) > 0 {
		versions := map[string]string{}
		for _, p := range pins {
			versions[p.version] = ""
			if len(p.want) > 0 {
				versions[p.version] = p.want[0].String()
			}
		}
		return pinnedPackument(name, x.base, versions)
	}
	want := packumentAccepts[1] // the client's own header goes no further
	if strings.Contains(accept, "vnd.npm.install-v1+json") {
		want = packumentAccepts[0]
	}
	doc, err := x.m.packument(ctx, name, want)
	if err != nil {
		return nil, err
	}
	return rewritePackument(doc, name, x.base)
}

func (x *Proxy) archive(w http.ResponseWriter, r *http.Request, p pin) {
	c, f, err := x.m.openArchive(r.Context(), p)
	entry := finding.Fetch{Name: p.name, Version: p.version, Size: c.size, Cached: c.cached}
	if err != nil {
		entry.Refused = err.Error()
		x.log.fetch(entry)
		if errors.Is(err, ErrIntegrity) {
			x.log.problem(p.String() + ": " + err.Error())
		}
		x.fail(w, p.String(), err)
		return
	}
	defer f.Close()
	entry.Integrity = c.digest.String()
	x.log.fetch(entry)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(c.size, 10))
	if r.Method == http.MethodGet {
		_, _ = io.CopyN(w, f, c.size) // a client that hangs up is its own affair
	}
}

// fail answers an error in words that npm prints.
func (x *Proxy) fail(w http.ResponseWriter, what string, err error) {
	x.m.log.Debug("registry request failed", "package", what, "error", err)
	switch {
	case errors.Is(err, ErrOffline):
		answer(w, http.StatusGatewayTimeout, what+": "+err.Error())
	case errors.Is(err, ErrNotFound):
		answer(w, http.StatusNotFound, what+": not found")
	case errors.Is(err, ErrIntegrity), errors.Is(err, ErrTooLarge), errors.Is(err, ErrHost):
		answer(w, http.StatusForbidden, what+": "+err.Error())
	default:
		answer(w, http.StatusBadGateway, what+": the registry can't be reached")
	}
}

func answer(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // see CopyN above
}

func writeJSON(w http.ResponseWriter, r *http.Request, doc []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(doc) // see CopyN above
	}
}

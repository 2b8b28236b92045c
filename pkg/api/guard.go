package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Access says who may ask.
type Access struct {
	// Tokens are the accepted bearer tokens; several, so that one can be
	// replaced without a gap. With none, only this machine may ask.
	Tokens []string
	// Basic takes a token as the password of HTTP basic authentication too, which
	// browsers ask for.
	Basic bool
}

// Guard lets only those requests through that Access allows; it suits any
// handler, the broker's ingress as well.
//
// With tokens, a request needs one as "Authorization: Bearer TOKEN" (401), or, if
// Access says so, as a password with any user name.
// Without, it must come from a loopback address (403) and name a loopback host,
// since a web page can point a name of its own at 127.0.0.1 (421). Either way
// a browser's request from another site is refused (403): a page must not be
// able to act with the rights of whoever looks at it.
func Guard(a Access, log *slog.Logger, next http.Handler) http.Handler {
	g := &guard{basic: a.Basic, log: log, next: next, origin: http.NewCrossOriginProtection()}
	for _, t := range a.Tokens {
		if t != "" {
			g.sums = append(g.sums, sha256.Sum256([]byte(t)))
		}
	}
	return g
}

type guard struct {
	sums   [][sha256.Size]byte // of the tokens: equal lengths are compared in equal time
	basic  bool
	origin *http.CrossOriginProtection
	log    *slog.Logger
	next   http.Handler
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, why := g.check(r)
	if status == 0 {
		g.next.ServeHTTP(w, r)
		return
	}
	g.log.Warn("request refused", "remote", r.RemoteAddr, "path", r.URL.Path, "reason", why)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", g.challenge())
	}
	writeProblem(w, status, why)
}

// challenge names the way to prove oneself.
func (g *guard) challenge() string {
	if g.basic {
		return `Basic realm="falconer", charset="UTF-8"`
	}
	return `Bearer realm="falconer"`
}

// check returns the status to refuse a request with, 0 to let it through.
func (g *guard) check(r *http.Request) (status int, why string) {
	if err := g.origin.Check(r); err != nil {
		return http.StatusForbidden, "the request comes from another site"
	}
	if len(g.sums) > 0 {
		if !g.authorized(r) {
			return http.StatusUnauthorized, "a valid bearer token is needed"
		}
		return 0, ""
	}
	switch {
	case !loopback(r.RemoteAddr):
		return http.StatusForbidden, "without a configured token only this machine may ask"
	case !loopbackHost(r.Host):
		return http.StatusMisdirectedRequest, "without a configured token the server is reached by a loopback name only"
	}
	return 0, ""
}

// authorized compares the request's token with every configured one.
func (g *guard) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if _, password, ok := r.BasicAuth(); ok && g.basic {
		token = password
	} else if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, match := sha256.Sum256([]byte(strings.TrimSpace(token))), 0
	for _, want := range g.sums {
		match |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return match == 1
}

// loopback reports whether addr ("ip:port") is this machine's.
func loopback(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// loopbackHost reports whether a Host header names this machine.
func loopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}

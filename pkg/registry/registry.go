// Package registry is the sandbox's only way out: a proxy that speaks the npm
// registry protocol, and the download cache behind it.
//
// It guarantees:
//   - Only the configured registries' hosts (and hosts allowed by name) are
//     ever contacted, redirects included. Nothing of a request reaches them but
//     a package name and version that passed the parser: no header, no query,
//     no body. So nothing can be smuggled through.
//   - Credentials are added on the way up, to the address they were configured
//     for, and never appear in the sandbox.
//   - What a lockfile pins is served with the pinned content or not at all.
//   - Every artifact asked for is logged, refusals included; the log, sizes,
//     concurrency and times are bounded.
//   - A prefetched cache lets `npm ci --prefer-offline` run without a request.
//
// Use: Configured reads the host's npm settings; New makes a Mirror of those
// registries over a cache folder; Prefetch fills a scan's own npm cache; Proxy
// answers whatever is asked beyond it.
package registry

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// Limits of what is taken from a registry.
const (
	MaxTarball   = 256 << 20 // bytes of an archive
	MaxPackument = 64 << 20  // bytes of a package document
	MaxFetches   = 10_000    // fetches logged per proxy or prefetch; the rest is counted
	MaxRequests  = 50_000    // requests a proxy answers before it refuses the rest
	concurrency  = 16        // requests to registries at a time, per Mirror
)

// DefaultBase is the proxy's address inside the sandbox.
const DefaultBase = "http://127.0.0.1:4873/"

// Options says how to make a Mirror.
type Options struct {
	Config  Config
	Cache   string       // folder of the shared download cache; created if absent
	Extra   []string     // npm cache folders ("~/.npm") whose content may be used; never written
	Hosts   []string     // further hosts ("cdn.example.com" or "cdn.example.com:8443") that archives may come from
	Offline bool         // use caches only
	Log     *slog.Logger // nil discards
	// Transport reaches the registries; nil builds one from Config.
	Transport http.RoundTripper
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Backoff is the pause before the first retry of a failed request; it
	// doubles. Zero is 250 ms.
	Backoff time.Duration
}

// Mirror reaches the configured registries through a download cache. It is
// safe for concurrent use, and several processes may share a cache folder.
type Mirror struct {
	up      *upstream
	store   *store
	extra   []*store
	offline bool
	log     *slog.Logger
	now     func() time.Time
}

// New returns a Mirror. It fails if the cache folder can't be made or the
// configuration is unusable (fault.Invalid).
func New(o Options) (*Mirror, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	up, err := newUpstream(o)
	if err != nil {
		return nil, err
	}
	st, err := newStore(o.Cache)
	if err != nil {
		return nil, err
	}
	m := &Mirror{up: up, store: st, offline: o.Offline, log: o.Log, now: o.Now}
	for _, dir := range o.Extra {
		m.extra = append(m.extra, readStore(dir))
	}
	return m, nil
}

// Errors that a fetch ends in.
var (
	// ErrNotFound: the registry has no such package or version.
	ErrNotFound = errors.New("not found in the registry")
	// ErrIntegrity: the content is not what the lockfile pins.
	ErrIntegrity = errors.New("the content does not match the lockfile's integrity")
	// ErrOffline: a cache was to suffice and does not.
	ErrOffline = errors.New("not in the cache, and the network is off (--offline)")
	// ErrHost: the address is on a host that is not allowed.
	ErrHost = errors.New("host not allowed")
	// ErrTooLarge: the content exceeds MaxTarball or MaxPackument.
	ErrTooLarge = errors.New("larger than allowed")
)

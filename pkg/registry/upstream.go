package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Timing and retries towards a registry.
const (
	maxRedirects   = 5
	attempts       = 4
	maxPause       = 10 * time.Second // longest pause between attempts, whatever Retry-After says
	headerTimeout  = 30 * time.Second
	stallTimeout   = 60 * time.Second // without a byte of the body
	defaultBackoff = 250 * time.Millisecond
)

// upstream makes requests to the configured registries and to nothing else.
type upstream struct {
	cfg     Config
	hosts   map[string]bool // "host" or "host:port"
	client  *http.Client
	slots   chan struct{}
	backoff time.Duration
}

func newUpstream(o Options) (*upstream, error) {
	cfg := o.Config
	if !o.Offline || cfg.Registry != "" {
		if err := cfg.check(); err != nil {
			return nil, err
		}
	}
	u := &upstream{cfg: cfg, hosts: map[string]bool{}, slots: make(chan struct{}, concurrency), backoff: o.Backoff}
	if u.backoff <= 0 {
		u.backoff = defaultBackoff
	}
	for _, base := range cfg.Scopes {
		u.allow(base)
	}
	u.allow(cfg.Registry)
	for _, h := range o.Hosts {
		u.hosts[strings.ToLower(h)] = true
	}
	transport := o.Transport
	if transport == nil {
		var err error
		if transport, err = newTransport(cfg); err != nil {
			return nil, err
		}
	}
	u.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // get follows them itself
	}
	return u, nil
}

func (u *upstream) allow(base string) {
	if parsed, err := url.Parse(base); err == nil && parsed.Host != "" {
		u.hosts[strings.ToLower(parsed.Host)] = true
	}
}

func newTransport(cfg Config) (http.RoundTripper, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if len(cfg.CA) > 0 && !pool.AppendCertsFromPEM(cfg.CA) {
		return nil, fault.Errorf(fault.Invalid, "registry: npm's ca or cafile setting holds no certificate")
	}
	proxies := httpproxy.FromEnvironment()
	if cfg.Proxy != "" {
		proxies = &httpproxy.Config{HTTPProxy: cfg.Proxy, HTTPSProxy: cfg.Proxy, NoProxy: cfg.NoProxy}
	}
	choose := proxies.ProxyFunc()
	return &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return choose(r.URL) },
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: pool, InsecureSkipVerify: cfg.Insecure}, //nolint:gosec // the user's own strict-ssl=false
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
		MaxConnsPerHost:       concurrency, MaxIdleConnsPerHost: concurrency, IdleConnTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}, nil
}

// allowed reports whether u may be contacted.
func (u *upstream) allowed(to *url.URL) bool {
	return (to.Scheme == "https" || to.Scheme == "http") && to.User == nil && u.hosts[strings.ToLower(to.Host)]
}

// get requests an address and calls read with the body of a 200 answer, unless
// that announces more than limit bytes (read has to keep to the limit, too). It
// retries network errors, 429 and 5xx a few times; read errors that are not
// faults of their own (ErrIntegrity, ErrTooLarge) are retried too, since a
// connection may break half-way.
func (u *upstream) get(ctx context.Context, address, accept string, limit int64, read func(io.Reader) error) error {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	pause := u.backoff
	for attempt := 1; ; attempt++ {
		after, err := u.try(ctx, address, accept, limit, read)
		if err == nil || attempt == attempts || ctx.Err() != nil || !worthRetrying(err) {
			return err
		}
		timer := time.NewTimer(min(max(pause, after), maxPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause *= 2
	}
}

func worthRetrying(err error) bool {
	return fault.Retryable(err) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrIntegrity) &&
		!errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrHost)
}

// try makes one attempt, redirects included; after is how long the registry
// asks to wait.
func (u *upstream) try(ctx context.Context, address, accept string, limit int64, read func(io.Reader) error) (after time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range maxRedirects + 1 {
		res, err := u.send(ctx, address, accept)
		if err != nil {
			return 0, err
		}
		next, after, err := u.judge(res)
		if err != nil || next == "" {
			if err == nil && res.ContentLength > limit {
				err = fmt.Errorf("%w: %d bytes", ErrTooLarge, res.ContentLength)
			}
			if err == nil {
				err = readBody(cancel, res.Body, read)
			}
			res.Body.Close()
			return after, err
		}
		res.Body.Close()
		address = next
	}
	return 0, fault.Errorf(fault.Permanent, "more than %d redirects", maxRedirects)
}

func (u *upstream) send(ctx context.Context, address, accept string) (*http.Response, error) {
	to, err := url.Parse(address)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "unreadable address")
	}
	if !u.allowed(to) {
		return nil, fmt.Errorf("%.200q: %w", to.Host, ErrHost)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.New("", fault.Invalid, err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "falconer")
	if auth := u.cfg.Auth.header(to); auth != "" {
		req.Header.Set("Authorization", auth)
	}
	res, err := u.client.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = fmt.Errorf("%s: %w", to.Host, wrapped.Err) // without the address, which may carry a signature
	}
	return res, err
}

// judge returns where a redirect leads, or the error that a status means.
func (u *upstream) judge(res *http.Response) (next string, after time.Duration, err error) {
	host := res.Request.URL.Host
	switch code := res.StatusCode; {
	case code == http.StatusOK:
		return "", 0, nil
	case code == 301 || code == 302 || code == 303 || code == 307 || code == 308:
		to, err := res.Location()
		if err != nil {
			return "", 0, fault.Errorf(fault.Permanent, "%s: a redirect to nowhere", host)
		}
		return to.String(), 0, nil
	case code == http.StatusNotFound || code == http.StatusGone || code == 451:
		return "", 0, fmt.Errorf("%s: %w", host, ErrNotFound)
	case code == http.StatusTooManyRequests || code >= 500:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // a date or nonsense counts as none
		return "", time.Duration(min(max(seconds, 0), 3600)) * time.Second, fault.Errorf(fault.Transient, "%s answers %s", host, res.Status)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return "", 0, fault.Errorf(fault.Permanent, "%s refuses access (%s): check the credentials in .npmrc", host, res.Status)
	default:
		return "", 0, fault.Errorf(fault.Permanent, "%s answers %s", host, res.Status)
	}
}

// readBody hands the body to read and gives up when no byte comes for
// stallTimeout.
func readBody(cancel context.CancelCauseFunc, body io.Reader, read func(io.Reader) error) error {
	timer := time.AfterFunc(stallTimeout, func() { cancel(errors.New("stalled")) })
	defer timer.Stop()
	return read(readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		timer.Reset(stallTimeout)
		return n, err
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Package gitlab calls GitLab's API: what the planner reads of a project, and
// what the reporter writes to it.
//
// Guarantees: a call is tried again only where it can't double anything, waits
// as long as GitLab asks (within MaxWait), and ends with its context; an error
// carries the fault.Kind that decides whether trying later can help, and says
// what to do where a person has to; neither the token nor more than a line of
// GitLab's answer is part of an error; answers are bounded in size.
package gitlab

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/secret"
)

// MaxAnswer is the largest answer that is read, in bytes; archives are bounded
// by whoever reads them.
const MaxAnswer = 64 << 20

// Names of the environment variables that FromEnv reads.
const (
	URLVariable   = "GITLAB_URL"
	TokenVariable = "GITLAB_TOKEN"
)

// Config says which GitLab and how patiently. Zero values mean the defaults
// named.
type Config struct {
	URL     string            // base address, e.g. "https://gitlab.example.com"
	Token   string            // access token, sent as PRIVATE-TOKEN
	Timeout time.Duration     // of one attempt, until its answer begins; 20 s
	Tries   int               // attempts for one call; 4
	Wait    time.Duration     // before the second attempt, doubled for each later one; 250 ms
	HTTP    http.RoundTripper // what requests go through; http.DefaultTransport's settings
}

// Client calls one GitLab. It is safe for concurrent use.
type Client struct {
	api   *api
	base  string
	turns *turns // of commit statuses
}

// New returns a client. An address that is not http or https, or a missing
// token, is fault.Permanent.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, fault.Errorf(fault.Permanent, "%s is not an address like https://gitlab.example.com", URLVariable)
	}
	if c.Token == "" {
		return nil, fault.Errorf(fault.Permanent, "%s is set, but neither %s nor %s_FILE", URLVariable, TokenVariable, TokenVariable)
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Tries == 0 {
		c.Tries = 4
	}
	if c.Wait == 0 {
		c.Wait = 250 * time.Millisecond
	}
	if c.HTTP == nil {
		c.HTTP = &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, MaxConnsPerHost: 64,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true}
	}
	client := &http.Client{Transport: &bounded{next: c.HTTP, timeout: c.Timeout}, CheckRedirect: sameHost}
	api := newAPI(u, c.Token, &retryablehttp.Client{HTTPClient: client, RetryMax: c.Tries - 1,
		CheckRetry: again, Backoff: backoff(c.Wait), ErrorHandler: retryablehttp.PassthroughErrorHandler})
	return &Client{api: api, base: strings.TrimSuffix(c.URL, "/"), turns: newTurns()}, nil
}

// FromEnv returns a client as GITLAB_URL and GITLAB_TOKEN (or GITLAB_TOKEN_FILE)
// say, or nil if GITLAB_URL is not set: a file that a cluster would mount may
// then be missing. A token in the environment without an address is an error.
func FromEnv(getenv func(string) string) (*Client, error) {
	base := getenv(URLVariable)
	switch {
	case base == "" && getenv(TokenVariable) != "":
		return nil, fault.Errorf(fault.Permanent, "%s is set, but not %s: there is nobody to send it to", TokenVariable, URLVariable)
	case base == "":
		return nil, nil
	}
	token, err := secret.Token(getenv, TokenVariable)
	if err != nil {
		return nil, fault.New("gitlab", fault.Permanent, err)
	}
	return New(Config{URL: base, Token: token})
}

// sameHost lets a redirect stay on its host only: the token must not leave it.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) >= 5 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || r.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// bounded limits how long an answer may take to begin, and how large it is.
type bounded struct {
	next    http.RoundTripper
	timeout time.Duration
}

var _ http.RoundTripper = (*bounded)(nil)

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, stop := begin(r.Context(), b.timeout)
	resp, err := b.next.RoundTrip(r.WithContext(ctx))
	late := !stop.began()
	if err != nil {
		stop.cancel()
		if late {
			err = fmt.Errorf("no answer within %s: %w", b.timeout, err)
		}
		return nil, err
	}
	limit := int64(MaxAnswer)
	if strings.Contains(r.URL.Path, "/repository/archive") {
		limit = -1
	} else {
		stop.again(b.timeout) // what is no archive has to arrive within the time too
	}
	resp.Body = &body{ReadCloser: resp.Body, left: limit, stop: stop}
	return resp, nil
}

var errLarge = errors.New("GitLab's answer is too large")

// body is an answer's body, bounded if left is not negative.
type body struct {
	io.ReadCloser
	left int64
	stop *clock
}

// Read reads up to the bound.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 {
		if b.left -= int64(n); b.left < 0 {
			return 0, fault.New("gitlab", fault.TooLarge, errLarge)
		}
	}
	return n, err
}

// Close ends the request.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.stop.cancel()
	return err
}

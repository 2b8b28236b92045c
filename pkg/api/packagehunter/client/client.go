// Package client speaks Package Hunter's protocol to a Falconer, or to a Package
// Hunter, for the command line.
//
// Guarantees: no call outlasts its context; answers are bounded in size; what
// may succeed later is tried again, as late as the server asks, and nothing else
// is; an error's fault.Kind says which it was; the password is sent to the one
// server only and is part of no error.
package client

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
	"time"

	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Bounds on what a server can make a client do.
const (
	maxAnswer = 64 << 20         // bytes
	maxWait   = 60 * time.Second // between two tries
)

// Config says which server. Zero values mean the defaults named.
type Config struct {
	URL            string // "https://falconer.example.com"
	User, Password string // basic authentication; none is sent for an empty user
	HTTP           *http.Client
	Tries          int           // for one call; 5
	Pause          time.Duration // before the second try, longer for each later one; 2 s
	Poll           time.Duration // between two questions; 2 s
	Progress       func(line string)
}

// Client is a client of one server.
type Client struct{ c Config }

// New returns a client. An address that is not http or https is fault.Invalid.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, fault.Errorf(fault.Invalid, "the server's address is not like https://falconer.example.com")
	}
	c.URL = strings.TrimRight(c.URL, "/")
	if c.HTTP == nil {
		c.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if c.Tries <= 0 {
		c.Tries = 5
	}
	if c.Pause <= 0 {
		c.Pause = 2 * time.Second
	}
	if c.Poll <= 0 {
		c.Poll = 2 * time.Second
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return &Client{c}, nil
}

// Submit sends a project's archive. open is called for each try.
func (c *Client) Submit(ctx context.Context, manager string, open func() (body io.ReadCloser, size int64, err error)) (scan.ID, error) {
	a, err := c.call(ctx, func() (*http.Request, error) {
		body, size, err := open()
		if err != nil {
			return nil, fault.New("", fault.Invalid, err)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.c.URL+"/monitor/project/"+url.PathEscape(manager), body)
		if err != nil {
			return nil, errors.Join(err, body.Close())
		}
		r.ContentLength = size
		r.Header.Set("Content-Type", "application/octet-stream")
		return r, nil
	})
	switch {
	case err != nil:
		return "", err
	case a.Status != packagehunter.StatusOK || a.ID == "":
		return "", refused(a)
	}
	return a.ID, nil
}

// refused is a server's "error" as an error.
func refused(a packagehunter.Answer) error {
	if a.Reason == "" {
		a.Reason = fmt.Sprintf("the server answered with status %.40q and no reason", a.Status)
	}
	return fault.Errorf(fault.Permanent, "%s", a.Reason)
}

// Wait asks until the scan has ended. An answer with status "error" that has a
// verdict is returned without an error: it is what the scan came to.
func (c *Client) Wait(ctx context.Context, id scan.ID) (packagehunter.Answer, error) {
	last := ""
	for {
		a, err := c.call(ctx, func() (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodGet, c.c.URL+"/?"+url.Values{"id": {string(id)}, "detail": {"true"}}.Encode(), nil)
		})
		switch {
		case err != nil:
			return a, err
		case a.Status == packagehunter.StatusFinished || a.Status == packagehunter.StatusError && a.Verdict != "":
			return a, nil
		case a.Status != packagehunter.StatusPending:
			return a, refused(a)
		}
		if a.Status != last {
			c.c.Progress("scan " + string(id) + " is " + a.Status)
			last = a.Status
		}
		if err := sleep(ctx, c.c.Poll); err != nil {
			return a, err
		}
	}
}

// call sends a request until it is answered, or trying again is useless.
func (c *Client) call(ctx context.Context, build func() (*http.Request, error)) (a packagehunter.Answer, err error) {
	for try := 1; ; try++ {
		var wait time.Duration
		a, wait, err = c.once(build)
		if err == nil || !fault.Retryable(err) || try == c.c.Tries || ctx.Err() != nil {
			return a, err
		}
		wait = min(max(wait, c.c.Pause*time.Duration(try)), maxWait)
		c.c.Progress(fmt.Sprintf("%v; trying again in %s", err, wait))
		if serr := sleep(ctx, wait); serr != nil {
			return a, errors.Join(serr, err)
		}
	}
}

// once sends a request once. wait is how long the server wants to be left alone.
func (c *Client) once(build func() (*http.Request, error)) (a packagehunter.Answer, wait time.Duration, err error) {
	r, err := build()
	if err != nil {
		return a, 0, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "falconer")
	if c.c.User != "" {
		r.SetBasicAuth(c.c.User, c.c.Password)
	}
	resp, err := c.c.HTTP.Do(r)
	if err != nil {
		return a, 0, fault.New("", fault.Transient, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return a, 0, fault.New("read the answer", fault.Transient, err)
	case len(raw) > maxAnswer:
		return a, 0, fault.Errorf(fault.TooLarge, "the answer is larger than %d bytes", maxAnswer)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	}
	broken := json.Unmarshal(raw, &a)
	if resp.StatusCode == http.StatusOK && broken == nil && a.Status != "" {
		return a, wait, nil
	}
	return a, wait, problem(resp.StatusCode, a)
}

// problem is an answer that is none as an error.
func problem(code int, a packagehunter.Answer) error {
	kind := fault.Permanent
	if code == http.StatusUnauthorized || code == http.StatusForbidden {
		return fault.Errorf(fault.Unauthorized, "the server refuses the user or password (%d): set HTR_user and HTR_pass", code)
	}
	if code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500 {
		kind = fault.Transient
	}
	if a.Reason != "" {
		return fault.Errorf(kind, "%s (%d)", a.Reason, code)
	}
	return fault.Errorf(kind, "the server answered %d %s", code, http.StatusText(code))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

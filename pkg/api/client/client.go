// Package client speaks to a Falconer server's scan API, for the command line
// and for programs.
//
// Guarantees: no call outlasts its context; answers are bounded in size; an
// error answer is an api.Problem (errors.As), and its fault.Kind says whether
// trying again can help.
package client

import (
	"bytes"
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

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// Client is a client of one server. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client of the server at base ("http://127.0.0.1:8080"). A
// token that is not empty is sent as a bearer token. The HTTP client must have
// no timeout of its own, which would end streams; contexts bound calls.
func New(base, token string, h *http.Client) *Client {
	return &Client{base: strings.TrimRight(base, "/") + api.Prefix, token: token, http: h}
}

// Submission describes an archive.
type Submission struct {
	Project  string // path on the forge, or "local/NAME"
	Ref      string
	Commit   string // only if the archive is exactly this commit
	Timeout  time.Duration
	Offline  bool
	StripTop bool // the archive's single top-level directory is not part of the source
}

// Submit sends a source archive and returns its scans. Sending the same again
// is harmless.
func (c *Client) Submit(ctx context.Context, archive io.Reader, s Submission) (api.Submission, error) {
	q := url.Values{"project": {s.Project}, "strip": {strconv.FormatBool(s.StripTop)}}
	set(q, "ref", s.Ref)
	set(q, "commit", s.Commit)
	if s.Timeout > 0 {
		q.Set("timeout", s.Timeout.String())
	}
	if s.Offline {
		q.Set("offline", "true")
	}
	var out api.Submission
	return out, c.call(ctx, http.MethodPost, "/scans?"+q.Encode(), "application/gzip", archive, &out)
}

// Scan returns what is known of a scan.
func (c *Client) Scan(ctx context.Context, id scan.ID) (api.ScanState, error) {
	var out api.ScanState
	return out, c.call(ctx, http.MethodGet, "/scans/"+url.PathEscape(string(id)), "", nil, &out)
}

// Report returns a scan's report in a form, "gitlab" for one. While the scan is
// not over the error is a Problem (wrapped) of status 409.
func (c *Client) Report(ctx context.Context, id scan.ID, form string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, "/scans/"+url.PathEscape(string(id))+"/report?format="+url.QueryEscape(form), "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = errors.New("the report is too long")
	}
	return b, fault.New("client: read report", fault.Transient, err)
}

// Scans returns a page of scans, the one that changed last first; before is 0,
// or Next of the page before.
func (c *Client) Scans(ctx context.Context, before uint64, limit int) (api.ScanPage, error) {
	var out api.ScanPage
	return out, c.call(ctx, http.MethodGet, fmt.Sprintf("/scans?before=%d&limit=%d", before, limit), "", nil, &out)
}

// Wait asks for a scan until it is finished or rejected. It puts up with
// transient errors: a server that restarts keeps its scans.
func (c *Client) Wait(ctx context.Context, id scan.ID, every time.Duration) (api.ScanState, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s, err := c.Scan(ctx, id)
		if err == nil && s.Status.Final() || err != nil && !fault.Retryable(err) {
			return s, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s, errors.Join(ctx.Err(), err)
		}
	}
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// DeadLetters lists dead letters, at most limit.
func (c *Client) DeadLetters(ctx context.Context, limit int) (api.LetterPage, error) {
	var out api.LetterPage
	return out, c.call(ctx, http.MethodGet, fmt.Sprintf("/dead-letters?limit=%d", limit), "", nil, &out)
}

// Replay has dead letters delivered again.
func (c *Client) Replay(ctx context.Context, r api.Replay) (api.Replayed, error) {
	var out api.Replayed
	body, err := json.Marshal(r)
	if err != nil {
		return out, fault.New("client", fault.Invalid, err)
	}
	return out, c.call(ctx, http.MethodPost, "/dead-letters/replay", "application/json", bytes.NewReader(body), &out)
}

// call makes a request and decodes the answer.
func (c *Client) call(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	resp, err := c.do(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
	return fault.New("client: decode answer", fault.Transient, err)
}

// do makes a request. An answer that is no success is an error.
func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fault.New("client", fault.Invalid, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fault.New("client", fault.Transient, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemOf(resp)
}

// problemOf reads an error answer.
func problemOf(resp *http.Response) error {
	p := api.Problem{Title: http.StatusText(resp.StatusCode)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p) // the status says enough
	}
	p.Status = resp.StatusCode
	kind := fault.Permanent
	switch {
	case p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Status == http.StatusRequestTimeout:
		kind = fault.Transient
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		kind = fault.Unauthorized
	case p.Status == http.StatusBadRequest:
		kind = fault.Invalid
	case p.Status == http.StatusRequestEntityTooLarge:
		kind = fault.TooLarge
	}
	return fault.New("client", kind, p)
}

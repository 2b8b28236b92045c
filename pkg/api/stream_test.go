package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/client"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// serveRig starts a server and returns a client of it. At the test's end no
// iteration over the log may still run.
func serveRig(t *testing.T, adjust ...func(*api.Config)) (*rig, *client.Client, string) {
	t.Helper()
	r := newRig(t, adjust...)
	s := httptest.NewServer(r.handler)
	t.Cleanup(func() {
		s.Close()
		r.log.mu.Lock()
		defer r.log.mu.Unlock()
		if r.log.open != 0 {
			t.Errorf("%d iterations over the log still run", r.log.open)
		}
	})
	return r, client.New(s.URL+"/", "", s.Client()), s.URL
}

func submit(t *testing.T, c *client.Client) scan.ID {
	t.Helper()
	s, err := c.Submit(t.Context(), bytes.NewReader(archive(t, "app/toy.lock", "good")), client.Submission{
		Project: "local/app", Ref: "main", Commit: strings.Repeat("ab", 20), Timeout: time.Minute, Offline: true, StripTop: true})
	must(t, err)
	return s.ScanIDs[0]
}

func TestFollowAScanToItsEnd(t *testing.T) {
	r, c, _ := serveRig(t)
	id := submit(t, c)
	must(t, r.log.Emit(t.Context(), eventtest.Event(event.ScanRequested, "of another scan")))
	var types []string
	for e, err := range c.ScanEvents(t.Context(), id, api.Query{Follow: true}) {
		must(t, err)
		types = append(types, e.Event.Type())
		if len(types) == 1 {
			go r.finish(t, id)
		}
	}
	if got := strings.Join(types, " "); got != event.ScanRequested+" "+event.ScanFinished {
		t.Errorf("events %s", got)
	}
	// A stream of a scan that is over ends by itself.
	n := 0
	for _, err := range c.ScanEvents(t.Context(), id, api.Query{Follow: true}) {
		must(t, err)
		n++
	}
	if n != 2 {
		t.Errorf("%d events of a finished scan", n)
	}
	s, err := c.Wait(t.Context(), id, time.Millisecond)
	if err != nil || s.Status != ledger.Finished || s.Result == nil {
		t.Errorf("Wait = %+v, %v", s, err)
	}
	page, err := c.Scans(t.Context(), 0, 10)
	if err != nil || len(page.Scans) != 1 {
		t.Errorf("Scans = %+v, %v", page, err)
	}
}

// TestRejectedBeforeIsNotTheEnd: an old rejection in the log does not end the
// stream of a scan that was asked for again.
func TestRejectedBeforeIsNotTheEnd(t *testing.T) {
	r, c, _ := serveRig(t)
	id := submit(t, c)
	e, err := event.New(event.ScanRejected, event.Source("runner"), string(id), "r1", eventtest.At().Add(-time.Hour), event.Rejected{ScanID: id, Reason: "no sandbox"})
	must(t, err)
	must(t, r.log.Emit(t.Context(), e))
	n := 0
	for e, err := range c.ScanEvents(t.Context(), id, api.Query{Follow: true}) {
		must(t, err)
		if n++; n == 2 {
			time.AfterFunc(300*time.Millisecond, func() { r.finish(t, id) })
		}
		if n == 3 && e.Event.Type() != event.ScanFinished {
			t.Errorf("third event %s", e.Event.Type())
		}
	}
	if n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestEventLog(t *testing.T) {
	r, c, url := serveRig(t)
	for i := range 250 {
		must(t, r.log.Emit(t.Context(), eventtest.Event(event.FalcoAlert, string(rune('a'+i%26)))))
	}
	n := 0
	for _, err := range c.Events(t.Context(), api.Query{Type: event.FalcoAlert}) {
		must(t, err)
		n++
	}
	if n != 250 {
		t.Errorf("%d events over pages, want 250", n)
	}
	n = 0
	for e, err := range c.Events(t.Context(), api.Query{After: 399, Follow: true, Limit: 3}) {
		must(t, err)
		if n++; e.Seq <= 399 {
			t.Errorf("event %d is not after 399", e.Seq)
		}
	}
	if n != 3 {
		t.Errorf("%d events followed, want 3", n)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/api/v1/events", nil)
	must(t, err)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", "497")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b := make([]byte, 4096)
	k, err := io.ReadAtLeast(resp.Body, b, 20)
	must(t, err)
	if got := string(b[:k]); !strings.HasPrefix(got, ": ok\n\n") || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("stream begins with %q", got)
	}
	if got := string(b[:k]); !strings.Contains(got, "id: 499\nevent: "+event.FalcoAlert+"\ndata: {") {
		t.Errorf("stream does not resume at 499: %q", got)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	r, c, _ := serveRig(t, func(c *api.Config) { c.Streams = 1 })
	must(t, r.log.Emit(t.Context(), eventtest.Event(event.FalcoAlert, "1")))
	for _, err := range c.Events(t.Context(), api.Query{Follow: true}) {
		must(t, err)
		for _, err := range c.Events(t.Context(), api.Query{Follow: true}) {
			if p := (api.Problem{}); !errors.As(err, &p) || p.Status != 503 || !fault.Retryable(err) {
				t.Errorf("second stream: %v", err)
			}
		}
		break
	}
}

func TestStopEndsStreams(t *testing.T) {
	r, c, _ := serveRig(t)
	must(t, r.log.Emit(t.Context(), eventtest.Event(event.FalcoAlert, "1")))
	var last error
	for _, err := range c.Events(t.Context(), api.Query{Follow: true}) {
		if last = err; err == nil {
			close(r.stop)
		}
	}
	if !fault.Retryable(last) || !strings.Contains(last.Error(), "broke off") {
		t.Errorf("the client heard %v", last)
	}
}

func TestQuietStreamGivesSignsOfLife(t *testing.T) {
	_, _, url := serveRig(t, func(c *api.Config) { c.Heartbeat = 10 * time.Millisecond })
	resp, err := http.Get(url + "/api/v1/events?follow")
	must(t, err)
	defer resp.Body.Close()
	b := make([]byte, 100)
	_, err = io.ReadFull(resp.Body, b[:40])
	must(t, err)
	if !strings.Contains(string(b), ": still here\n\n") {
		t.Errorf("stream %q", b)
	}
}

func TestWait(t *testing.T) {
	r, c, _ := serveRig(t)
	id := submit(t, c)
	time.AfterFunc(50*time.Millisecond, func() { r.finish(t, id) })
	if s, err := c.Wait(t.Context(), id, 5*time.Millisecond); err != nil || s.Status != ledger.Finished {
		t.Errorf("Wait = %+v, %v", s, err)
	}
	var p api.Problem
	if _, err := c.Wait(t.Context(), scan.Key{}.ID(), time.Millisecond); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("unknown scan: %v", err)
	}
	other := submitOther(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx, other, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("unfinished scan: %v", err)
	}
}

func submitOther(t *testing.T, c *client.Client) scan.ID {
	t.Helper()
	s, err := c.Submit(t.Context(), bytes.NewReader(archive(t, "toy.lock", "other")), client.Submission{Project: "local/other"})
	must(t, err)
	return s.ScanIDs[0]
}

func TestClientErrors(t *testing.T) {
	_, c, url := serveRig(t, func(c *api.Config) { c.Access.Tokens = []string{"secret"} })
	_, err := c.DeadLetters(t.Context(), 10)
	if p := (api.Problem{}); !errors.As(err, &p) || p.Status != 401 || fault.KindOf(err) != fault.Unauthorized {
		t.Errorf("without a token: %v", err)
	}
	authorized := client.New(url, "secret", http.DefaultClient)
	if _, err := authorized.DeadLetters(t.Context(), 10); err != nil {
		t.Errorf("with a token: %v", err)
	}
	if _, err := authorized.Submit(t.Context(), strings.NewReader("x"), client.Submission{Project: "p"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("bad archive: %v, want invalid", err)
	}
	if got, err := authorized.Replay(t.Context(), api.Replay{IDs: []string{"x"}}); err != nil || got.Failed["x"] == "" {
		t.Errorf("Replay = %+v, %v", got, err)
	}
	gone := client.New("http://127.0.0.1:1", "", http.DefaultClient)
	if _, err := gone.Scan(t.Context(), "x"); !fault.Retryable(err) {
		t.Errorf("no server: %v, want transient", err)
	}
}

package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sender posts messages to one address of the collector.
type sender struct {
	settings
	url       string
	complaint *complaint
}

// attempts and pause say how often a request is tried, and how long after the
// first failure again; each later pause is four times as long.
const (
	attempts = 3
	pause    = 100 * time.Millisecond
)

// send posts a message, again where the collector asks for it. The error is
// logged, now and then.
func (s sender) send(ctx context.Context, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	wait := pause
	for n := 1; ; n++ {
		again, err := s.post(ctx, body)
		if err == nil {
			return nil
		}
		if !again || n == attempts || !sleep(ctx, wait) {
			s.complaint.log(err)
			return err
		}
		wait *= 4
	}
}

// post makes one request; again says that another one may succeed.
func (s sender) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, values := range s.headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := s.client.Do(req)
	if err != nil {
		return false, err // it is away: the next batch finds out whether it still is
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("the collector answered %s", resp.Status)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// traceClient sends what OpenTelemetry's exporter encoded.
type traceClient struct{ sender }

var _ otlptrace.Client = (*traceClient)(nil)

// Start implements otlptrace.Client.
func (*traceClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (*traceClient) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client. An error was logged already, and is
// kept from the SDK, which would write it to standard error in its own way.
func (c *traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// As bytes, a TracesData is the request that the collector expects.
	_ = c.send(ctx, &tracepb.TracesData{ResourceSpans: spans})
	return nil
}

// complaint logs errors of one kind, one a minute at most.
type complaint struct {
	slog   *slog.Logger
	signal string

	mu   sync.Mutex
	last time.Time
}

func newComplaint(log *slog.Logger, signal string) *complaint {
	return &complaint{slog: log, signal: signal}
}

func (c *complaint) log(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && time.Since(c.last) < time.Minute {
		return
	}
	c.last = time.Now()
	c.slog.Warn("not sent to the collector", "signal", c.signal, "error", err)
}

package runner

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Results has the results of scans. Get returns results.ErrNotFound (wrapped)
// for a scan without one; other errors are transient.
type Results interface {
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
}

var _ Results = (*results.Store)(nil)

// attemptsKept is how long the number of a scan's attempts is remembered.
const attemptsKept = 7 * 24 * time.Hour

// conflictTries bounds the tries to count an attempt against other runners.
const conflictTries = 10

// JetStreamLedger is a Ledger in a JetStream key-value bucket.
type JetStreamLedger struct {
	results Results
	kv      jetstream.KeyValue
}

var _ Ledger = (*JetStreamLedger)(nil)

// OpenLedger creates the bucket, or takes it as it is.
func OpenLedger(ctx context.Context, nc *nats.Conn, r Results, opts ...stream.Option) (*JetStreamLedger, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.New("runner: open ledger", fault.Permanent, err)
	}
	kv, err := stream.KeyValue(ctx, js, jetstream.KeyValueConfig{
		Bucket: "attempts", Description: "runs of each scan", TTL: attemptsKept, Storage: jetstream.FileStorage}, stream.On(opts))
	if err != nil {
		return nil, fault.New("runner: open ledger", fault.Transient, err)
	}
	return &JetStreamLedger{r, kv}, nil
}

// Finished implements Ledger. An inconclusive result does not count: asking
// again is how one gets a better one.
func (l *JetStreamLedger) Finished(ctx context.Context, id scan.ID) (bool, error) {
	r, err := l.results.Get(ctx, id)
	if errors.Is(err, results.ErrNotFound) {
		return false, nil
	}
	return err == nil && r.Verdict != finding.Inconclusive, err
}

// Attempt implements Ledger.
func (l *JetStreamLedger) Attempt(ctx context.Context, id scan.ID) (int, error) {
	return l.AttemptFor(ctx, id, "")
}

// AttemptFor is Attempt for the one event that asks for the run, named by
// cause: asked again with the cause that it was asked with last, it returns the
// same number. An empty cause is never the same.
func (l *JetStreamLedger) AttemptFor(ctx context.Context, id scan.ID, cause string) (int, error) {
	const op = "runner: count attempt"
	for range conflictTries {
		n, revision := 0, uint64(0)
		switch e, err := l.kv.Get(ctx, string(id)); {
		case err == nil:
			number, last, _ := strings.Cut(string(e.Value()), " ")
			n, _ = strconv.Atoi(number) // only this function writes it
			if cause != "" && last == cause {
				return n, nil
			}
			revision = e.Revision()
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return 0, fault.New(op, fault.Transient, err)
		}
		n++
		_, err := l.kv.Update(ctx, string(id), []byte(strings.TrimSpace(strconv.Itoa(n)+" "+cause)), revision)
		if err == nil {
			return n, nil
		}
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
			return 0, fault.New(op, fault.Transient, err)
		}
	}
	return 0, fault.Errorf(fault.Transient, "%s: too many runners count scan %s at once", op, id)
}

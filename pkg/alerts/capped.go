package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Overflow counts the alerts of a scan that were over the limit, by whether they
// were urgent enough to change the verdict.
type Overflow struct {
	Judged int64 // priority Warning or more urgent
	Noted  int64
}

const (
	classJudged = "judged"
	classNoted  = "noted"
)

// incrHeader makes JetStream add to a counter instead of storing a message.
const incrHeader = "Nats-Incr"

// maxMarked bounds how many subjects the capper remembers as marked.
const maxMarked = 16 << 10

// capper keeps the counts of capped alerts in a JetStream counter stream. A
// subject's first is added before add returns; later ones wait for a flush.
type capper struct {
	js       jetstream.JetStream
	counters jetstream.Stream
	log      *slog.Logger

	flushing sync.Mutex
	mu       sync.Mutex
	marked   map[string]struct{}
	waiting  map[string]int64
}

func newCapper(js jetstream.JetStream, counters jetstream.Stream, log *slog.Logger) *capper {
	return &capper{js: js, counters: counters, log: log, marked: map[string]struct{}{}, waiting: map[string]int64{}}
}

// cappedSubject returns the counter of an alert subject and class.
func cappedSubject(alertSubject, class string) string {
	if rest, ok := strings.CutPrefix(alertSubject, subjectScan); ok {
		return cappedScan + rest + "." + class
	}
	return cappedOther + strings.TrimPrefix(alertSubject, subjectOther) + "." + class
}

// add counts one alert. Its error means that the fact is not durable.
func (c *capper) add(ctx context.Context, subject string) error {
	c.mu.Lock()
	if _, ok := c.marked[subject]; ok {
		c.waiting[subject]++
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	if err := c.increment(ctx, subject, 1); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.marked) >= maxMarked {
		clear(c.marked) // the next one of each is synchronous again
	}
	c.marked[subject] = struct{}{}
	return nil
}

func (c *capper) increment(ctx context.Context, subject string, n int64) error {
	m := &nats.Msg{Subject: subject, Header: nats.Header{incrHeader: []string{"+" + strconv.FormatInt(n, 10)}}}
	_, err := c.js.PublishMsg(ctx, m)
	return fault.New("alerts: count alert over the limit", fault.Transient, err)
}

// run flushes until ctx ends.
func (c *capper) run(ctx context.Context) {
	t := time.NewTicker(FlushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := c.flush(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("counts of alerts over the limit wait in memory", "error", err)
			}
		}
	}
}

// flush writes what waits; what can't be written waits on. When it returns,
// everything that was added before the call is durable.
func (c *capper) flush(ctx context.Context) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	batch := c.waiting
	c.waiting = map[string]int64{}
	c.mu.Unlock()
	var failed error
	for subject, n := range batch {
		if failed == nil {
			if failed = c.increment(ctx, subject, n); failed == nil {
				continue
			}
		}
		c.mu.Lock()
		c.waiting[subject] += n
		c.mu.Unlock()
	}
	return failed
}

func (c *capper) purge(ctx context.Context, id scan.ID) error {
	prefix := cappedScan + string(id) + "."
	c.mu.Lock()
	for subject := range c.marked {
		if strings.HasPrefix(subject, prefix) {
			delete(c.marked, subject)
			delete(c.waiting, subject)
		}
	}
	c.mu.Unlock()
	err := c.counters.Purge(ctx, jetstream.WithPurgeSubject(prefix+">"))
	return fault.New("alerts: purge counts of scan "+string(id), fault.Transient, err)
}

// Capped returns how many alerts of a scan were over the limit. Counts of
// other processes may be FlushEvery old.
func (s *Store) Capped(ctx context.Context, id scan.ID) (Overflow, error) {
	if err := s.capped.flush(ctx); err != nil {
		return Overflow{}, err
	}
	const op = "alerts: read counts over the limit"
	subjects, _, err := subjectTotals(ctx, s.capped.counters, cappedScan+string(id)+".>")
	if err != nil {
		return Overflow{}, fault.New(op, fault.Transient, err)
	}
	var total Overflow
	for subject := range subjects {
		m, err := s.capped.counters.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // purged meanwhile
		}
		if err != nil {
			return Overflow{}, fault.New(op, fault.Transient, err)
		}
		n := counterValue(m.Data)
		if strings.HasSuffix(subject, "."+classJudged) {
			total.Judged += n
		} else {
			total.Noted += n
		}
	}
	return total, nil
}

// counterValue reads a counter stream's value, {"val":"123"}. One that is out
// of range counts as 1: the fact outlives the number.
func counterValue(b []byte) int64 {
	var v struct {
		Val string `json:"val"`
	}
	if json.Unmarshal(b, &v) != nil {
		return 1
	}
	n, ok := new(big.Int).SetString(v.Val, 10)
	if !ok || !n.IsInt64() {
		return 1
	}
	return n.Int64()
}

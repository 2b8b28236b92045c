package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	tidyEvery = 5 * time.Second
	tidyPause = time.Second // at least, between two rounds
)

// janitor keeps the log within its age and its share of the space. It purges
// only what every Trigger had handled when the round before it ended.
func (b *Broker) janitor(ctx context.Context) {
	horizon := uint64(0)
	for {
		last, err := b.tidy(ctx, horizon)
		if err == nil {
			horizon = last
		} else if ctx.Err() == nil {
			b.log.Warn("event log not tidied", "error", err)
		}
		if !sleep(ctx, tidyPause) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-b.full:
		case <-time.After(min(tidyEvery, b.cfg.Keep)): // a short Keep is honoured
		}
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// tidy purges events up to horizon that every Trigger has handled, if they are
// older than Config.Keep or if the stream is more than half full. It returns
// the stream's last sequence, the next round's horizon: a consumer's counts lag
// a little behind what was just stored.
func (b *Broker) tidy(ctx context.Context, horizon uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	state := info.State
	b.measured(state)
	handled, err := b.handled(ctx, horizon)
	if err != nil {
		return 0, err
	}
	keep := uint64(0) // first sequence to keep
	if int64(state.Bytes) > b.cfg.MaxBytes/2 {
		keep = handled + 1
	} else if state.Msgs > 0 && time.Since(state.FirstTime) > b.cfg.Keep {
		keep = min(handled+1, b.firstSince(ctx, state, time.Now().Add(-b.cfg.Keep)))
	}
	if keep <= state.FirstSeq {
		return state.LastSeq, nil
	}
	if err := b.stream.Purge(ctx, jetstream.WithPurgeSequence(keep)); err != nil {
		return 0, fmt.Errorf("purge handled events: %w", err)
	}
	if info, err = b.stream.Info(ctx); err != nil {
		return 0, err
	}
	b.measured(info.State)
	return state.LastSeq, nil
}

func (b *Broker) measured(state jetstream.StreamState) {
	b.used.Store(int64(state.Bytes))
	b.metrics.bytes.Set(float64(state.Bytes))
}

// handled returns the sequence up to which every Trigger is done, at most
// horizon.
func (b *Broker) handled(ctx context.Context, horizon uint64) (uint64, error) {
	for _, r := range b.routes {
		info, err := r.source.Info(ctx)
		if err != nil {
			return 0, err
		}
		open := info.NumPending + uint64(info.NumAckPending)
		b.metrics.backlog.WithLabelValues(r.trigger.Name).Set(float64(open))
		if open > 0 { // otherwise its floor only lags behind types that it doesn't read
			horizon = min(horizon, info.AckFloor.Stream)
		}
	}
	return horizon, nil
}

// firstSince finds the first sequence stored at or after t by bisection.
func (b *Broker) firstSince(ctx context.Context, state jetstream.StreamState, t time.Time) uint64 {
	lo, hi := state.FirstSeq, state.LastSeq+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		m, err := b.stream.GetMsg(ctx, mid, jetstream.WithGetMsgSubject(b.subjects.all()))
		if err != nil || !m.Time.Before(t) {
			hi = mid
			continue
		}
		lo = max(mid, m.Sequence) + 1
	}
	return lo
}

package gitlab

import (
	"context"
	"hash/maphash"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// turns lets one at a time do what needs to read before it writes, for each of
// the things that it is done to; now and then two things share a turn.
type turns struct {
	seed  maphash.Seed
	slots [64]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the turn of what the parts name; done ends it. The error is
// fault.Transient: ctx has ended.
func (t *turns) take(ctx context.Context, parts ...string) (done func(), err error) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p) // a hash never fails to write
		_ = h.WriteByte(0)
	}
	slot := t.slots[h.Sum64()%uint64(len(t.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, fault.New("gitlab: wait for another call", fault.Transient, ctx.Err())
	}
}

package ledger

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// maxSteps bounds the work for one page: records that changed leave gaps in
// the stream's order, which have to be walked.
const maxSteps = 5000

// List returns at most limit records, the one that changed last first. before
// is 0 for the first page and what the page before returned as next for the
// others; next is 0 after the last page. A page may be short, or empty, though
// more follow. A record that changes meanwhile moves to the front.
func (l *Ledger) List(ctx context.Context, before uint64, limit int) (page []Record, next uint64, err error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return nil, 0, fault.New("ledger: list", fault.Transient, err)
	}
	first, seq := info.State.FirstSeq, info.State.LastSeq
	if before > 0 {
		seq = min(seq, before-1)
	}
	for steps := 0; seq >= first && seq > 0; seq-- {
		if len(page) == limit || steps == maxSteps {
			return page, seq + 1, nil
		}
		steps++
		m, err := l.stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, 0, fault.New("ledger: list", fault.Transient, err)
		}
		var rec Record
		if json.Unmarshal(m.Data, &rec) != nil || rec.ID == "" {
			continue // a deletion marker
		}
		page = append(page, rec)
	}
	return page, 0, nil
}

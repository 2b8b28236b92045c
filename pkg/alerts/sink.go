package alerts

import (
	"context"
	"fmt"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Sink stores the alerts of a sensor in this process, which knows the scan for
// certain.
type Sink struct{ Store *Store }

var _ sandbox.AlertSink = Sink{}

// Put returns nil once every alert is stored, recognised as a repetition, or
// counted as over the limit; that count is then durable too.
func (s Sink) Put(ctx context.Context, id scan.ID, list []falco.Alert) error {
	if _, err := scan.ParseID(string(id)); err != nil {
		return fault.New("alerts: store", fault.Invalid, err)
	}
	items := make([]Item, len(list))
	for i, a := range list {
		items[i] = Item{Alert: a, ScanID: id}
	}
	outcomes, err := s.Store.Put(ctx, items)
	if err != nil {
		return fmt.Errorf("alerts of scan %s: %w", id, err)
	}
	for _, o := range outcomes {
		if o.Status == Capped {
			return s.Store.capped.flush(ctx)
		}
	}
	return nil
}

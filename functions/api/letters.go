package api

import (
	"context"
	"iter"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Letters is the API's view of the dead letters.
type Letters struct {
	Store *deadletter.Store
	To    deadletter.Redeliverer // of letters that name their trigger
	Emit  function.Emitter       // of those that don't
}

var _ api.Letters = Letters{}

// List implements api.Letters.
func (l Letters) List(ctx context.Context) iter.Seq2[api.Letter, error] {
	return func(yield func(api.Letter, error) bool) {
		for x, err := range l.Store.List(ctx) {
			if !yield(api.Letter{ID: x.ID, At: x.At, Trigger: x.Trigger, Code: x.Code, Reason: x.Reason, Event: x.Event}, err) {
				return
			}
		}
	}
}

// Replay implements api.Letters.
func (l Letters) Replay(ctx context.Context, id string) error {
	return l.Store.Replay(ctx, id, l.To, l.Emit)
}

// noTriggers stands for a broker that cannot deliver to one trigger alone. Only
// the embedded broker's letters ask for it.
type noTriggers struct{}

var _ deadletter.Redeliverer = noTriggers{}

// Redeliver implements deadletter.Redeliverer.
func (noTriggers) Redeliver(_ context.Context, trigger string, _ ce.Event, _ string) error {
	return fault.Errorf(fault.Permanent, "the letter is for trigger %.80q of an embedded broker: replay it there", trigger)
}

// noLog stands for the log of events that Knative's broker does not keep.
type noLog struct{}

var _ api.Log = noLog{}

// Events implements api.Log.
func (noLog) Events(context.Context, api.Query) iter.Seq2[api.Logged, error] {
	return func(yield func(api.Logged, error) bool) {
		yield(api.Logged{}, fault.Errorf(fault.Permanent, "this cluster's broker keeps no log of events; poll the scan instead"))
	}
}

package main

import (
	"context"
	"iter"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/broker"
)

// eventLog is the API's view of the embedded broker's log.
type eventLog struct{ broker *broker.Broker }

var _ api.Log = eventLog{}

// Events implements api.Log.
func (l eventLog) Events(ctx context.Context, q api.Query) iter.Seq2[api.Logged, error] {
	return func(yield func(api.Logged, error) bool) {
		for s, err := range l.broker.Events(ctx, broker.Query{After: q.After, Type: q.Type, Subject: q.Subject, Limit: q.Limit, Follow: q.Follow}) {
			if !yield(api.Logged(s), err) {
				return
			}
		}
	}
}

package main

import (
	"context"
	"iter"

	"github.com/falconer-sec/falconer/functions/deadletter"
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

// letterBox is the API's view of the dead letters.
type letterBox struct {
	store  *deadletter.Store
	broker *broker.Broker
}

var _ api.Letters = letterBox{}

// List implements api.Letters.
func (l letterBox) List(ctx context.Context) iter.Seq2[api.Letter, error] {
	return func(yield func(api.Letter, error) bool) {
		for x, err := range l.store.List(ctx) {
			if !yield(api.Letter{ID: x.ID, At: x.At, Trigger: x.Trigger, Code: x.Code, Reason: x.Reason, Event: x.Event}, err) {
				return
			}
		}
	}
}

// Replay implements api.Letters.
func (l letterBox) Replay(ctx context.Context, id string) error {
	return l.store.Replay(ctx, id, l.broker, l.broker)
}

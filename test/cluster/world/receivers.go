package world

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/falconer-sec/falconer/test/conformance"
)

// Receiver asks for a subscriber below /receivers/ID that answers by a script,
// see conformance.NewReceiver. A GET there lists what it received.
type Receiver struct {
	ID     string `json:"id"`
	Script string `json:"script"`
}

// Posting is an event, or a batch, to be posted to an address.
type Posting struct {
	URL  string `json:"url"`
	Text string `json:"text"`
}

// Posted is how it was answered.
type Posted struct {
	Status int `json:"status"`
}

// receivers are the subscribers that tests asked for.
type receivers struct {
	mu   sync.Mutex
	list map[string]*conformance.Receiver
}

func (x *receivers) add(_ context.Context, r Receiver) (Receiver, error) {
	receiver, err := conformance.NewReceiver(r.Script)
	if err != nil {
		return r, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.list == nil {
		x.list = map[string]*conformance.Receiver{}
	}
	if x.list[r.ID] != nil {
		return r, fmt.Errorf("world: there is a receiver %q already", r.ID)
	}
	x.list[r.ID] = receiver
	return r, nil
}

// ServeHTTP receives events, and lists them for a GET.
func (x *receivers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	receiver := x.list[r.PathValue("id")]
	x.mu.Unlock()
	switch {
	case receiver == nil:
		http.Error(w, "no such receiver", http.StatusGone) // 404 would be tried again
	case r.Method == http.MethodGet:
		answer(w, receiver.Got())
	default:
		receiver.ServeHTTP(w, r)
	}
}

func (w *World) post(ctx context.Context, p Posting) (Posted, error) {
	status, err := conformance.Send(ctx, w.config.Client, p.URL, p.Text)
	return Posted{status}, err
}

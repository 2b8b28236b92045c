package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Bounds on one page of events.
const (
	defaultEvents = 100
	maxEvents     = 1000
	maxEventBytes = 8 << 20 // of their data
)

// EventPage is a page of the event log.
type EventPage struct {
	Events []Logged `json:"events"`
	// Next is the after parameter of the next page; there is none when Events
	// is empty.
	Next uint64 `json:"next"`
}

// scanEvents answers GET /scans/{id}/events: a list, or a stream that ends with
// the scan.
func (a *api) scanEvents(w http.ResponseWriter, r *http.Request) error {
	rec, err := a.record(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	q, stream, err := queryOf(r)
	if err != nil {
		return err
	}
	q.Subject = string(rec.ID)
	if !stream {
		return a.page(w, r, q)
	}
	return a.stream(w, r, q, func() (bool, error) {
		rec, err := a.Scans.Get(r.Context(), rec.ID)
		return rec.Status.Final(), err
	})
}

// events answers GET /events.
func (a *api) events(w http.ResponseWriter, r *http.Request) error {
	q, stream, err := queryOf(r)
	if err != nil {
		return err
	}
	q.Subject = r.URL.Query().Get("subject")
	if !stream {
		return a.page(w, r, q)
	}
	return a.stream(w, r, q, nil)
}

// queryOf reads what events are asked for, and whether as a stream.
func queryOf(r *http.Request) (q Query, stream bool, err error) {
	v := r.URL.Query()
	stream = strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	follow, err := flag(v, "follow")
	if err != nil {
		return q, false, err
	}
	stream = stream || follow
	q.Type = v.Get("type")
	if !plain(q.Type) || strings.ContainsAny(q.Type, " *>") {
		return q, false, fault.Errorf(fault.Invalid, "type=%.80q is not an event type", q.Type)
	}
	after := r.Header.Get("Last-Event-ID") // a browser's way to resume
	if after != "" && v.Get("after") == "" {
		v.Set("after", after)
	}
	if q.After, err = number(v, "after", 0, 1<<63); err != nil {
		return q, false, err
	}
	limit, err := number(v, "limit", defaultEvents, maxEvents)
	q.Limit = int(max(limit, 1))
	return q, stream, err
}

// page answers with a list.
func (a *api) page(w http.ResponseWriter, r *http.Request, q Query) error {
	p, size := EventPage{Events: []Logged{}, Next: q.After}, 0
	for e, err := range a.Log.Events(r.Context(), q) {
		if err != nil {
			return err
		}
		if size += len(e.Event.Data()); size > maxEventBytes && len(p.Events) > 0 {
			break
		}
		p.Events, p.Next = append(p.Events, e), e.Seq
	}
	return write(w, http.StatusOK, p)
}

// seq writes a sequence number.
func seq(n uint64) string { return strconv.FormatUint(n, 10) }

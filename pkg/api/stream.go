package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// writeTimeout bounds one write to a stream: a client that does not read is
// let go.
const writeTimeout = 30 * time.Second

// lookInterval is how often a stream looks whether its scan is over, once an
// event came that may have been the last: the ledger hears of it at about the
// same time.
const lookInterval = 100 * time.Millisecond

// stream answers with server-sent events: "id" is the event's sequence number
// in the log, "event" its type, "data" the CloudEvent. done says whether
// nothing more will come; nil means that this never happens.
//
// A finished scan's events are sent from the log before the stream ends, even
// if it was finished before the stream began.
func (a *api) stream(w http.ResponseWriter, r *http.Request, q Query, done func() (bool, error)) error {
	release, ok := acquire(a.streams)
	if !ok {
		return failed(http.StatusServiceUnavailable, "too many event streams are open, try again")
	}
	defer release()
	q.Limit = 0
	s := &sse{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	err := a.pump(ctx, s, q, done)
	if err != nil && r.Context().Err() == nil { // the answer has begun: nothing to do but to end it
		a.Slog.Warn("event stream broke off", "path", r.URL.Path, "error", err)
	}
	return nil
}

// pump sends events until they end, the client goes or the server stops.
func (a *api) pump(ctx context.Context, s *sse, q Query, done func() (bool, error)) error {
	over, err := ended(done)
	if err != nil {
		return err
	}
	q.Follow = !over
	events, stop := a.follow(ctx, q)
	defer func() { stop() }()
	if err := s.comment("ok"); err != nil {
		return err
	}
	beat, look := time.NewTicker(a.Heartbeat), time.NewTicker(lookInterval)
	defer beat.Stop()
	defer look.Stop()
	maybe := false // an event came that may have been the scan's last
	for {
		select {
		case e, open := <-events:
			if !open {
				return s.end()
			}
			if e.err != nil {
				return e.err
			}
			if err := s.event(e.Logged); err != nil {
				return err
			}
			q.After, maybe = e.Seq, maybe || final(e.Event.Type())
			continue
		case <-look.C:
			if !maybe {
				continue
			}
		case <-beat.C:
			if err := s.comment("still here"); err != nil {
				return err
			}
		case <-a.Stop:
			return s.comment("the server stops")
		case <-ctx.Done():
			return nil
		}
		if !q.Follow {
			continue
		}
		// Once the ledger says that the scan is over, what is left in the log
		// is all there is.
		if over, err = ended(done); err != nil {
			return err
		}
		if over {
			stop()
			q.Follow = false
			events, stop = a.follow(ctx, q)
		}
	}
}

// ended asks done, which may be nil.
func ended(done func() (bool, error)) (bool, error) {
	if done == nil {
		return false, nil
	}
	return done()
}

// step is an event or the error that ends them.
type step struct {
	Logged
	err error
}

// follow iterates over the log in a goroutine of its own, which stop ends and
// waits for.
func (a *api) follow(ctx context.Context, q Query) (events <-chan step, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	c, gone := make(chan step), make(chan struct{})
	go func() {
		defer close(gone)
		defer close(c)
		for e, err := range a.Log.Events(ctx, q) {
			select {
			case c <- step{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c, func() { cancel(); <-gone }
}

// sse writes server-sent events.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// event sends one event. JSON has no line breaks, so data is one line.
func (s *sse) event(e Logged) error {
	b, err := json.Marshal(e.Event)
	if err != nil {
		return err
	}
	return s.send("id: " + seq(e.Seq) + "\nevent: " + e.Event.Type() + "\ndata: " + string(b) + "\n\n")
}

// end tells the client that the stream is complete, not broken.
func (s *sse) end() error { return s.send("event: end\ndata: {}\n\n") }

// comment sends a sign of life.
func (s *sse) comment(text string) error { return s.send(": " + text + "\n\n") }

func (s *sse) send(text string) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // where there are none, the server's applies
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

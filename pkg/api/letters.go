package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// maxLetters bounds how many dead letters one request lists or replays.
const maxLetters = 1000

// LetterPage lists dead letters, the oldest failure first.
type LetterPage struct {
	Letters []Letter `json:"letters"`
	More    bool     `json:"more"` // there are others
}

// Replay asks for dead letters to be delivered again: those named, or all.
type Replay struct {
	IDs []string `json:"ids,omitempty"`
	All bool     `json:"all,omitempty"`
}

// Replayed says what became of them.
type Replayed struct {
	Replayed []string          `json:"replayed"`
	Failed   map[string]string `json:"failed"` // ID → why; these letters are still there
	More     bool              `json:"more"`   // all were asked for, and there are more than one request replays
}

// final reports whether an event may be a scan's last.
func final(typ string) bool {
	return typ == event.ScanFinished || typ == event.ScanAmended || typ == event.ScanRejected
}

// listLetters answers GET /dead-letters.
func (a *api) listLetters(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r.URL.Query(), "limit", defaultPage, maxPage)
	if err != nil {
		return err
	}
	p, size := LetterPage{Letters: []Letter{}}, 0
	for l, err := range a.Letters.List(r.Context()) {
		if err != nil {
			return err
		}
		if size += len(l.Event.Data()); len(p.Letters) == int(max(limit, 1)) || size > maxEventBytes && len(p.Letters) > 0 {
			p.More = true
			break
		}
		p.Letters = append(p.Letters, l)
	}
	return write(w, http.StatusOK, p)
}

// replay answers POST /dead-letters/replay.
func (a *api) replay(w http.ResponseWriter, r *http.Request) error {
	ask, err := readReplay(w, r)
	if err != nil {
		return err
	}
	ids, more := ask.IDs, false
	if ask.All {
		if ids, more, err = a.allLetters(r); err != nil {
			return err
		}
	}
	done := Replayed{Replayed: []string{}, Failed: map[string]string{}, More: more}
	for _, id := range ids {
		if err := a.Letters.Replay(r.Context(), id); err != nil {
			a.Slog.Warn("dead letter not replayed", "id", id, "error", err)
			done.Failed[id] = err.Error()
			continue
		}
		done.Replayed = append(done.Replayed, id)
	}
	return write(w, http.StatusOK, done)
}

func readReplay(w http.ResponseWriter, r *http.Request) (Replay, error) {
	var ask Replay
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	err := d.Decode(&ask)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return ask, fault.Errorf(fault.TooLarge, "the request is larger than %d bytes", large.Limit)
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("data after the request")
		}
	}
	switch {
	case err != nil:
		return ask, fault.Errorf(fault.Invalid, "not a replay request: %w", err)
	case ask.All == (len(ask.IDs) > 0):
		return ask, fault.Errorf(fault.Invalid, `either "ids" or "all" says what to replay`)
	case len(ask.IDs) > maxLetters:
		return ask, fault.Errorf(fault.TooLarge, "%d letters, at most %d are replayed at once", len(ask.IDs), maxLetters)
	}
	return ask, nil
}

// allLetters returns the IDs of the letters there are now: one that fails
// again meanwhile is not replayed for ever.
func (a *api) allLetters(r *http.Request) (ids []string, more bool, err error) {
	for l, err := range a.Letters.List(r.Context()) {
		if err != nil {
			return nil, false, err
		}
		if len(ids) == maxLetters {
			return ids, true, nil
		}
		ids = append(ids, l.ID)
	}
	return ids, false, nil
}

package jobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// phase is where an entry of the queue stands.
type phase string

const (
	waiting phase = "waiting" // for a free slot
	claimed phase = "claimed" // somebody is creating its Job; has a slot
	running phase = "running" // its Job exists and scan.started is out; has a slot
	dropped phase = "dropped" // superseded; its Job goes, scan.rejected is due
)

// entry is one attempt at a scan in the queue. It is kept small, since all of
// them are one document; the rest is in the scan's record.
type entry struct {
	ID       scan.ID       `json:"id"`
	Attempt  int           `json:"n"`
	Phase    phase         `json:"s"`
	Seq      uint64        `json:"q"`           // order of arrival
	Project  string        `json:"p"`           // digest of the project's path
	Line     string        `json:"l,omitempty"` // digest of what commits replace each other in, "" for none
	Commit   string        `json:"k,omitempty"` // digest of the commit
	Pushed   time.Time     `json:"t"`
	Priority scan.Priority `json:"u,omitempty"`
	Cause    string        `json:"c"`           // digest of the event that asked
	By       string        `json:"b,omitempty"` // digest of the event that claimed it
	Asked    time.Time     `json:"a"`           // when it entered the queue
	Since    time.Time     `json:"at"`          // when it was claimed
	Until    time.Time     `json:"to,omitzero"` // when Kubernetes has ended its Job
	Again    string        `json:"g,omitempty"` // digest of the event that asked for another attempt meanwhile
	Newer    string        `json:"w,omitempty"` // the commit that took its place
}

// state is the queue as a whole: a value, changed by the methods below and
// stored with compare-and-set.
type state struct {
	Seq     uint64  `json:"seq"`
	Entries []entry `json:"entries"`
}

// find returns a scan's entry, nil if there is none.
func (s *state) find(id scan.ID) *entry {
	for i := range s.Entries {
		if s.Entries[i].ID == id {
			return &s.Entries[i]
		}
	}
	return nil
}

func (s *state) remove(id scan.ID, attempt int) bool {
	n := len(s.Entries)
	s.Entries = slices.DeleteFunc(s.Entries, func(e entry) bool { return e.ID == id && e.Attempt == attempt })
	return len(s.Entries) < n
}

// count returns how many wait and how many have a slot.
func (s *state) count() (wait, slots int) {
	for _, e := range s.Entries {
		switch e.Phase {
		case waiting:
			wait++
		case claimed, running:
			slots++
		}
	}
	return wait, slots
}

// add appends an entry. Older commits of the same line are marked as dropped;
// if it is itself the older one, newer is the entry that it is older than and
// nothing changes.
func (s *state) add(e entry, commit string) (newer *entry) {
	if e.Line != "" {
		for i, other := range s.Entries {
			if other.Line == e.Line && other.Commit != e.Commit && other.Phase != dropped && other.Pushed.After(e.Pushed) {
				return &s.Entries[i]
			}
		}
		for i := range s.Entries {
			if other := &s.Entries[i]; other.Line == e.Line && other.Commit != e.Commit && other.Phase != dropped {
				other.Phase, other.Newer = dropped, commit
			}
		}
	}
	s.Seq++
	e.Seq, e.Phase = s.Seq, waiting
	s.Entries = append(s.Entries, e)
	return nil
}

// next returns the entry to be started next if fewer than limit have a slot:
// the most urgent; of these one of the project with the fewest slots; of these
// the one that came first.
func (s *state) next(limit int) *entry {
	slots, have := map[string]int{}, 0
	for _, e := range s.Entries {
		if e.Phase == claimed || e.Phase == running {
			slots[e.Project]++
			have++
		}
	}
	if have >= limit {
		return nil
	}
	var best *entry
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Phase == waiting && (best == nil || before(*e, *best, slots)) {
			best = e
		}
	}
	return best
}

func before(a, b entry, slots map[string]int) bool {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(slots[a.Project], slots[b.Project]), cmp.Compare(a.Seq, b.Seq)) < 0
}

// claim gives e a slot in the name of an event.
func (e *entry) claim(by string, now time.Time) {
	e.Phase, e.By, e.Since = claimed, by, now
}

// ended takes an attempt out of the queue, or lines it up once more if another
// attempt was asked for meanwhile. It reports whether anything changed.
func (s *state) ended(id scan.ID, attempt int) bool {
	e := s.find(id)
	if e == nil || e.Attempt > attempt || e.Phase == waiting || e.Phase == dropped {
		return false
	}
	if e.Again == "" {
		return s.remove(id, e.Attempt)
	}
	s.Seq++
	e.Phase, e.Attempt, e.Seq, e.Cause, e.Again, e.By = waiting, e.Attempt+1, s.Seq, e.Again, "", ""
	return true
}

// digest shortens what identifies something.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p + "\x00")) // never fails; none of the parts can hold a NUL
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// line is what commits of a request's kind replace each other in.
func line(r scan.Request) string {
	if r.Ref == "" || r.Commit == "" {
		return ""
	}
	return digest("line", r.Project, r.Ref, r.Root, r.Manager)
}

package heads

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// MaxScans bounds the scans that are remembered of one project root of a branch.
const MaxScans = 30

// Line is one project root of a branch.
type Line struct {
	Project string
	Ref     string // with refs/heads/
	Root    string
	Manager string
}

// Scan is a scan of what a branch was at.
type Scan struct {
	ID     scan.ID   `json:"id"`
	Commit string    `json:"commit"`
	At     time.Time `json:"at"` // when the forge told of the push
}

// history is what is stored of a Line.
type history struct {
	Scans []Scan `json:"scans"` // newest first
}

func (l Line) key() string {
	return hash(l.Project) + ".s" + hash(l.Ref) + "." + hash(strconv.Itoa(len(l.Root))+":"+l.Root+l.Manager)
}

// Scans returns the scans of what a branch was at, newest first.
func (s *Store) Scans(ctx context.Context, l Line) ([]Scan, error) {
	var h history
	_, err := s.load(ctx, l.key(), &h)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	return h.Scans, fault.New("heads: read", fault.Transient, err)
}

// Scanned notes that a branch was at what a scan is of. The same scan at a later
// push takes its later place; the oldest beyond MaxScans are forgotten.
func (s *Store) Scanned(ctx context.Context, l Line, n Scan) error {
	return change(ctx, s.kv, l.key(), history{}, func(h history) (history, bool) {
		i := slices.IndexFunc(h.Scans, func(o Scan) bool { return o.ID == n.ID })
		if i >= 0 && !h.Scans[i].At.Before(n.At) {
			return h, false
		}
		list := slices.Clone(h.Scans)
		if i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		list = append([]Scan{n}, list...)
		slices.SortStableFunc(list, func(a, b Scan) int { return b.At.Compare(a.At) })
		return history{list[:min(len(list), MaxScans)]}, true
	})
}

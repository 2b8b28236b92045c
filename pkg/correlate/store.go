package correlate

import (
	"context"
	"errors"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// ErrConflict is returned by Store.Save when somebody else saved the state
// first: load it and apply again.
var ErrConflict = errors.New("the scan's state was changed meanwhile")

// Store keeps the States of scans. Errors but ErrConflict are transient.
type Store interface {
	// Load returns a scan's state and its version. A scan never heard of has
	// version 0 and a zero State with its ID.
	Load(ctx context.Context, id scan.ID) (State, uint64, error)
	// Save stores s if the version is still what Load returned, and remembers
	// when the scan is due; the zero time means never.
	Save(ctx context.Context, s State, version uint64, due time.Time) error
	// Overdue returns scans whose due time has passed.
	Overdue(ctx context.Context, now time.Time) ([]scan.ID, error)
	// Reported says whether a runtime alert with this digest was emitted.
	Reported(ctx context.Context, digest string) (bool, error)
	// Report remembers that it was.
	Report(ctx context.Context, digest string) error
}

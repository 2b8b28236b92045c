package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Page sizes.
const (
	defaultPage = 50
	maxPage     = 500
)

// ScanPage is a page of scans, the one that changed last first.
type ScanPage struct {
	Scans []ledger.Record `json:"scans"`
	// Next is the before parameter of the next page; 0 on the last one.
	Next uint64 `json:"next"`
}

// ScanState is what is known of one scan.
type ScanState struct {
	ledger.Record
	Result *finding.Result `json:"result,omitempty"` // there once the scan is finished
}

// listScans answers GET /scans.
func (a *api) listScans(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	before, err := number(q, "before", 0, math.MaxUint64)
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", defaultPage, maxPage)
	if err != nil {
		return err
	}
	page, next, err := a.Scans.List(r.Context(), before, int(max(limit, 1)))
	if err != nil {
		return err
	}
	if page == nil {
		page = []ledger.Record{}
	}
	return write(w, http.StatusOK, ScanPage{Scans: page, Next: next})
}

// getScan answers GET /scans/{id}.
func (a *api) getScan(w http.ResponseWriter, r *http.Request) error {
	rec, err := a.record(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	state := ScanState{Record: rec}
	if rec.Status == ledger.Finished {
		result, err := a.Results.Get(r.Context(), rec.ID)
		switch {
		case err == nil:
			state.Result = &result
		case fault.Retryable(err):
			return err
		default: // the ledger remembers longer than results are kept
			a.Slog.Warn("finished scan without a result", "scan_id", rec.ID, "error", err)
		}
	}
	return write(w, http.StatusOK, state)
}

// record returns a scan's record.
func (a *api) record(ctx context.Context, name string) (ledger.Record, error) {
	id, err := scan.ParseID(name)
	if err != nil {
		return ledger.Record{}, fault.New("", fault.Invalid, err)
	}
	rec, err := a.Scans.Get(ctx, id)
	if errors.Is(err, ledger.ErrUnknown) {
		return ledger.Record{}, failed(http.StatusNotFound, "no such scan")
	}
	return rec, err
}

// number reads a parameter that is a whole number up to limit.
func number(q url.Values, name string, fallback, limit uint64) (uint64, error) {
	if q.Get(name) == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil || n > limit {
		return 0, fault.Errorf(fault.Invalid, "%s=%.40q is not a number up to %d", name, q.Get(name), limit)
	}
	return n, nil
}

package packagehunter

import (
	"errors"
	"net/http"
	"strings"

	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// status answers GET /?id=. Whatever became of the scan, the HTTP status is 200,
// as it always was: clients read the body.
func (s *server) status(w http.ResponseWriter, r *http.Request, user string) {
	q := r.URL.Query()
	id, err := scan.ParseID(q.Get("id"))
	if err != nil {
		s.fail(w, http.StatusOK, "", err.Error())
		return
	}
	rec, err := s.Scans.Get(r.Context(), id)
	switch {
	case errors.Is(err, ledger.ErrUnknown) || err == nil && rec.Project != project(user):
		s.fail(w, http.StatusOK, id, "no such scan")
	case err != nil:
		s.refuse(w, r, err)
	case rec.Status == ledger.Rejected:
		s.fail(w, http.StatusOK, id, "not scanned: "+rec.Reason)
	case rec.Status == ledger.Finished:
		s.finished(w, r, id)
	default:
		s.write(w, http.StatusOK, Answer{Status: StatusPending, ID: id})
	}
}

// finished answers for a scan that has ended.
func (s *server) finished(w http.ResponseWriter, r *http.Request, id scan.ID) {
	result, err := s.Results.Get(r.Context(), id)
	if err != nil && fault.Retryable(err) {
		s.refuse(w, r, err)
		return
	}
	if err != nil { // the ledger remembers longer than results are kept
		s.fail(w, http.StatusOK, id, "the result is no longer there: send the project again")
		return
	}
	a := Answer{Status: StatusFinished, ID: id, Verdict: result.Verdict}
	list := alerts(result)
	a.Result = &list
	if result.Verdict == finding.Inconclusive {
		a.Status = StatusError
		a.Reason = "inconclusive, treat as not scanned: " + strings.Join(result.Incomplete[:min(len(result.Incomplete), 5)], "; ")
		if len(list) == 0 {
			a.Result = nil // nobody may take it for "nothing found"
		}
	}
	if r.URL.Query().Get("detail") == "true" {
		a.Scan = &result
	}
	s.write(w, http.StatusOK, a)
}

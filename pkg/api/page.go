package api

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// PagePattern is what Page is to be registered for.
const PagePattern = "GET /scans/{id}"

// pageRefresh is after how many seconds the page of a scan that is not over is
// loaded again.
const pageRefresh = "10"

// Page shows people what became of a scan, as plain text: it is where commit
// statuses and discussions lead to. Who may look is who may use the API; a
// browser asks for the token as a password, with any user name.
func Page(c Config) http.Handler {
	access := c.Access
	access.Basic = true
	a := &api{Config: c}
	return Guard(access, c.Slog, handler{a, a.showScan})
}

func (a *api) showScan(w http.ResponseWriter, r *http.Request) error {
	rec, err := a.record(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	h := w.Header()
	switch rec.Status {
	case ledger.Finished:
		err = a.showResult(r, &b, rec.ID)
	case ledger.Rejected:
		fmt.Fprintf(&b, "NOT SCANNED  %s\n\n%s\n", report.Printable(rec.Project, maxDetail), report.Printable(rec.Reason, maxDetail))
	default:
		h.Set("Refresh", pageRefresh)
		fmt.Fprintf(&b, "%s  %s\n\nThere is no verdict yet.\n", report.Printable(string(rec.Status), maxDetail), report.Printable(rec.Project, maxDetail))
	}
	if err != nil {
		return err
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the client went away: nobody left to tell
	return nil
}

// verdict writes a result for people.
func (a *api) showResult(r *http.Request, b *bytes.Buffer, id scan.ID) error {
	result, err := a.Results.Get(r.Context(), id)
	if err != nil {
		if !fault.Retryable(err) {
			return failed(http.StatusGone, fmt.Sprintf("the result of scan %s is not kept any more", id))
		}
		return err
	}
	if err := report.Text(b, result, report.Options{}); err != nil {
		return err
	}
	fmt.Fprintf(b, "\nscan %s\n", id)
	if result.Commit != "" {
		fmt.Fprintf(b, "commit %s %s\n", report.Printable(result.Commit, maxDetail), report.Printable(result.Ref, maxDetail))
	}
	return nil
}

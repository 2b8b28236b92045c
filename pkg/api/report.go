package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// What a report may be asked to put together.
const (
	maxAlso       = 63 // scans besides the one that the path names
	maxIncomplete = 50 // reasons that the caller adds
)

// VerdictHeader is the header that says what a report comes to, for clients
// that don't read it.
const VerdictHeader = "Falconer-Verdict"

// stillRunning is how many seconds a client waits before it asks again.
const stillRunning = "5"

// document is a report that is ready.
type document struct {
	verdict     finding.Verdict
	media, file string
	body        bytes.Buffer
}

// getReport answers GET /scans/{id}/report.
func (a *api) getReport(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	also, incomplete := q["also"], q["incomplete"]
	switch {
	case q.Get("format") == "":
		return fault.Errorf(fault.Invalid, "format is missing: one of %s", formats())
	case len(also) > maxAlso:
		return fault.Errorf(fault.Invalid, "also names %d scans, more than %d", len(also), maxAlso)
	case len(incomplete) > maxIncomplete:
		return fault.Errorf(fault.Invalid, "incomplete gives %d reasons, more than %d", len(incomplete), maxIncomplete)
	}
	in, err := a.gather(w, r, append([]string{r.PathValue("id")}, also...))
	if err != nil {
		return err
	}
	in.Gaps = incomplete
	d, err := render(q.Get("format"), in)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", d.media)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", d.file))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set(VerdictHeader, string(d.verdict))
	_, _ = w.Write(d.body.Bytes()) // the client went away: nobody left to tell
	return nil
}

func formats() string { return strings.Join(append(format.Names(), "json", "text"), ", ") }

// gather reads what became of the scans. A scan that is not over is an answer
// of its own, which says when to ask again.
func (a *api) gather(w http.ResponseWriter, r *http.Request, ids []string) (dossier.Input, error) {
	in := dossier.Input{Version: dossier.BuildVersion(), Now: a.Now}
	var known []scan.ID
	for _, id := range ids {
		rec, err := a.record(r.Context(), id)
		if err != nil {
			return in, err
		}
		if slices.Contains(known, rec.ID) {
			continue
		}
		known = append(known, rec.ID)
		switch rec.Status {
		case ledger.Finished:
			result, err := a.Results.Get(r.Context(), rec.ID)
			if err != nil && !fault.Retryable(err) {
				return in, failed(http.StatusGone, fmt.Sprintf("the result of scan %s is not kept any more", rec.ID))
			}
			if err != nil {
				return in, err
			}
			in.Results = append(in.Results, result)
		case ledger.Rejected:
			in.Rejected = append(in.Rejected, dossier.Rejection{Project: rec.Project, Reason: rec.Reason})
		default:
			w.Header().Set("Retry-After", stillRunning)
			return in, failed(http.StatusConflict, fmt.Sprintf("scan %s is %s: there is no report yet", rec.ID, rec.Status))
		}
	}
	return in, nil
}

// render writes a report in a form.
func render(form string, in dossier.Input) (*document, error) {
	d := &document{}
	if form == "json" || form == "text" {
		return d, d.single(form, in)
	}
	f, err := format.Parse(form)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "format: %.40q is none of %s", form, formats())
	}
	all := dossier.Make(in)
	d.verdict, d.media, d.file = all.Verdict, f.MediaType, f.File
	return d, f.Write(&d.body, all)
}

// single writes the forms that show one result and have no place for more.
func (d *document) single(form string, in dossier.Input) error {
	if len(in.Results)+len(in.Rejected) > 1 || len(in.Gaps) > 0 {
		return fault.Errorf(fault.Invalid, "the format %s shows one scan as it is: also and incomplete are for the others", form)
	}
	if len(in.Rejected) > 0 {
		return failed(http.StatusUnprocessableEntity, "the scan was rejected: "+in.Rejected[0].Reason)
	}
	r := in.Results[0]
	d.verdict, d.media, d.file = r.Verdict, "application/json", "falconer.json"
	write := func(w io.Writer) error { return report.JSON(w, r) }
	if form == "text" {
		d.media, d.file = "text/plain; charset=utf-8", "falconer.txt"
		write = func(w io.Writer) error { return report.Text(w, r, report.Options{}) }
	}
	return write(&d.body)
}

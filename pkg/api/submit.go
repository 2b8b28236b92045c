package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Submission is the answer to a submitted archive.
type Submission struct {
	ScanIDs  []scan.ID `json:"scan_ids"`
	Scans    []Scan    `json:"scans"`
	Rejected []string  `json:"rejected"` // project roots that can't be scanned, and why
}

// Scan is one scan of a submission.
type Scan struct {
	ID      scan.ID       `json:"scan_id"`
	Root    string        `json:"root"`
	Manager string        `json:"manager"`
	Status  ledger.Status `json:"status"`
	URL     string        `json:"url"` // path on this server
}

// submit takes in an archive: POST /scans.
func (a *api) submit(w http.ResponseWriter, r *http.Request) error {
	meta, err := metaOf(r.URL.Query())
	if err != nil {
		return err
	}
	if err := a.acceptable(r); err != nil {
		return err
	}
	release, ok := acquire(a.uploads)
	if !ok {
		return failed(http.StatusServiceUnavailable, "too many archives are being taken in, try again")
	}
	defer release()
	// The server's own time limits are made for small requests. Not every
	// ResponseWriter has deadlines; the server's then apply.
	rc, deadline := http.NewResponseController(w), time.Now().Add(a.UploadTimeout)
	_, _ = rc.SetReadDeadline(deadline), rc.SetWriteDeadline(deadline.Add(time.Minute))
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	plan, err := a.plan(ctx, http.MaxBytesReader(w, r.Body, a.MaxArchive), meta)
	if err != nil {
		return err
	}
	if len(plan.Requests) == 0 {
		return failed(http.StatusUnprocessableEntity, strings.Join(reasons(plan.Rejected), "; "))
	}
	answer, err := a.answer(ctx, plan)
	if err != nil {
		return err
	}
	return write(w, http.StatusAccepted, answer)
}

// acceptable checks what a request says of its body.
func (a *api) acceptable(r *http.Request) error {
	if r.ContentLength > a.MaxArchive {
		return fault.Errorf(fault.TooLarge, "the archive has %d bytes, at most %d are taken", r.ContentLength, a.MaxArchive)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "application/gzip", "application/x-gzip", "application/octet-stream":
		return nil
	}
	return failed(http.StatusUnsupportedMediaType, "an archive is sent as application/gzip or application/octet-stream")
}

// plan plans the scans and makes archive, requests and rejections durable.
func (a *api) plan(ctx context.Context, body io.Reader, meta planner.Meta) (planner.Plan, error) {
	sum := sha256.New()
	plan, err := a.Planner.Plan(ctx, Received(io.TeeReader(body, sum)), meta)
	if err != nil {
		return planner.Plan{}, err
	}
	for i := range plan.Rejected {
		plan.Rejected[i].Cause = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	}
	now := a.Now()
	if err := plan.Announce(ctx, a.Emitter, Name, now, nil); err != nil {
		return planner.Plan{}, err
	}
	for _, r := range plan.Requests {
		if err := a.Scans.Request(ctx, r, now); err != nil {
			return planner.Plan{}, err
		}
	}
	return plan, nil
}

// answer describes the plan, with the status of scans that were asked for
// before.
func (a *api) answer(ctx context.Context, plan planner.Plan) (Submission, error) {
	s := Submission{ScanIDs: []scan.ID{}, Scans: []Scan{}, Rejected: reasons(plan.Rejected)}
	for _, r := range plan.Requests {
		rec, err := a.Scans.Get(ctx, r.ID)
		if err != nil {
			return Submission{}, err
		}
		s.ScanIDs = append(s.ScanIDs, r.ID)
		s.Scans = append(s.Scans, Scan{ID: r.ID, Root: r.Root, Manager: r.Manager, Status: rec.Status, URL: Prefix + "/scans/" + string(r.ID)})
	}
	return s, nil
}

func reasons(list []event.Rejected) []string {
	out := []string{}
	for _, r := range list {
		out = append(out, r.Reason)
	}
	return out
}

// metaOf reads the query of a submission.
func metaOf(q url.Values) (planner.Meta, error) {
	m := planner.Meta{Project: q.Get("project"), Ref: q.Get("ref"), Commit: q.Get("commit"), StripTop: true, By: Name}
	invalid := func(format string, args ...any) (planner.Meta, error) {
		return planner.Meta{}, fault.Errorf(fault.Invalid, format, args...)
	}
	for name := range q {
		switch name {
		case "project", "ref", "commit", "offline", "timeout", "strip":
		default:
			return invalid("unknown query parameter %.40q", name)
		}
	}
	var err error
	switch {
	case m.Project == "":
		return invalid("the query parameter project is missing: the project's path, or local/NAME")
	case !fs.ValidPath(m.Project) || m.Project == "." || !plain(m.Project):
		return invalid("project %.80q is not a path", m.Project)
	case !plain(m.Ref):
		return invalid("ref %.80q is not a ref", m.Ref)
	case m.Commit != "" && !hash(m.Commit):
		return invalid("commit %.80q is not a full commit hash", m.Commit)
	}
	if m.Offline, err = flag(q, "offline"); err != nil {
		return planner.Meta{}, err
	}
	if q.Has("strip") {
		if m.StripTop, err = flag(q, "strip"); err != nil {
			return planner.Meta{}, err
		}
	}
	if m.Timeout, err = duration(q.Get("timeout")); err != nil {
		return planner.Meta{}, err
	}
	return m, nil
}

// flag reads a parameter that is true or false; alone it is true.
func flag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	if q.Get(name) == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, fault.Errorf(fault.Invalid, "%s=%.40q is neither true nor false", name, q.Get(name))
	}
	return v, nil
}

// duration reads a scan's time limit: "90s", "10m", or a number of seconds.
func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.Atoi(s); nerr == nil && n <= int(scan.MaxTimeout/time.Second) {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 || d > scan.MaxTimeout {
		return 0, fault.New("", fault.Invalid, fmt.Errorf("timeout=%.40q is not a duration up to %s", s, scan.MaxTimeout))
	}
	return d, nil
}

// hash reports whether s is a full commit hash.
func hash(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && (len(s) == 40 || len(s) == 64)
}

// plain reports whether s fits into an event attribute.
func plain(s string) bool {
	return len(s) <= 1024 && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

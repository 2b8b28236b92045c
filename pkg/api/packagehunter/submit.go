package packagehunter

import (
	"context"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// submit takes in an archive: POST /monitor/project/{manager}.
func (s *server) submit(w http.ResponseWriter, r *http.Request, user string) {
	manager := r.PathValue("manager")
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case !slices.Contains(s.Managers, manager):
		s.fail(w, http.StatusUnprocessableEntity, "", "projects of "+manager+" can't be scanned; this server knows: "+strings.Join(s.Managers, ", "))
		return
	case !slices.Contains([]string{"application/octet-stream", "application/gzip", "application/x-gzip"}, media):
		s.fail(w, http.StatusUnsupportedMediaType, "", "a project is sent as a .tgz, as application/octet-stream")
		return
	case r.ContentLength > s.MaxArchive:
		s.refuse(w, r, fault.Errorf(fault.TooLarge, "the archive has %d bytes, at most %d are taken", r.ContentLength, s.MaxArchive))
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.fail(w, http.StatusServiceUnavailable, "", "too many archives are being taken in, try again")
		return
	}
	// The server's own time limits are made for small requests. Not every
	// ResponseWriter has deadlines; the server's then apply.
	rc, deadline := http.NewResponseController(w), time.Now().Add(s.UploadTimeout)
	_, _ = rc.SetReadDeadline(deadline), rc.SetWriteDeadline(deadline.Add(time.Minute))
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	id, err := s.plan(ctx, http.MaxBytesReader(w, r.Body, s.MaxArchive), manager, user)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.Log.Info("archive taken in", "user", user, "manager", manager, "scan_id", id)
	s.write(w, http.StatusOK, Answer{Status: StatusOK, ID: id})
}

// refuse answers an error. What went wrong inside is logged, not told.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, reason := fault.Status(err), err.Error()
	if status >= http.StatusInternalServerError {
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		reason = "the request could not be completed, try again"
	}
	s.fail(w, status, "", reason)
}

// project is the name that what a user sends goes by: no forge has it, and it is
// nobody else's.
func project(user string) string { return "local/package-hunter/" + user }

// plan asks for the scan of an archive, durably.
func (s *server) plan(ctx context.Context, body io.Reader, manager, user string) (scan.ID, error) {
	plan, err := s.Planner.Plan(ctx, api.Received(body), planner.Meta{
		Project: project(user), StripTop: true, By: Name, Choose: func(_ context.Context, all []ecosystem.Project) ([]bool, error) { return choose(all, manager) },
	})
	if err != nil {
		return "", err
	}
	if len(plan.Requests) != 1 || overlooked(plan, manager) {
		return "", fault.Errorf(fault.Permanent, "%s", why(plan.Rejected, manager))
	}
	// What else is in the archive is not this scan's business.
	plan.Rejected = nil
	if err := plan.Announce(ctx, s.Emitter, Name, s.Now(), nil); err != nil {
		return "", err
	}
	asked := plan.Requests[0]
	return asked.ID, s.Scans.Request(ctx, asked, s.Now())
}

// choose picks the one project that an ID can stand for: that at the archive's
// top, as Package Hunter did, or else the only one there is.
func choose(all []ecosystem.Project, manager string) ([]bool, error) {
	chosen, roots, top := make([]bool, len(all)), []string{}, -1
	only := -1
	for i, p := range all {
		if p.Manager != manager {
			continue
		}
		roots, only = append(roots, p.Root), i
		if p.Root == "." {
			top = i
		}
	}
	switch {
	case top >= 0:
		chosen[top] = true
	case len(roots) == 1:
		chosen[only] = true
	case len(roots) > 1:
		return nil, fault.Errorf(fault.Permanent, "the archive has no %s project at its top and %d below: send one of them at a time (%s)", manager, len(roots), strings.Join(roots[:min(len(roots), 10)], ", "))
	}
	return chosen, nil
}

// overlooked reports whether a project that can't be scanned stands where the
// plan found only another one, further down: that one's verdict would be taken
// for the whole archive's.
func overlooked(p planner.Plan, manager string) bool {
	return p.Requests[0].Root != "." && slices.ContainsFunc(p.Rejected, func(r event.Rejected) bool { return r.Manager == manager })
}

// why there is no scan.
func why(list []event.Rejected, manager string) string {
	for _, r := range list {
		if r.Manager == "" || r.Manager == manager {
			return r.Reason
		}
	}
	return "nothing to scan: the archive has no lockfile of " + manager
}

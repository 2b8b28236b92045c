package depot

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// npm answers as the scan's package registry.
func (d *Depot) npm(w http.ResponseWriter, r *http.Request, g grant) {
	path, err := url.PathUnescape(g.rest)
	if err != nil || path == "" {
		d.refuse(w, ticket.NPM, fault.Errorf(fault.Invalid, "no package is asked for"))
		return
	}
	s, release, err := d.sessions.acquire(r.Context(), g)
	if err != nil {
		d.c.Log.Warn("registry of a scan not opened", "scan_id", g.id, "attempt", g.attempt, "error", err)
		d.refuse(w, ticket.NPM, err)
		return
	}
	defer release()
	inner := r.WithContext(r.Context())
	inner.URL = &url.URL{Host: r.URL.Host, Path: path, RawPath: g.rest, RawQuery: r.URL.RawQuery}
	if err := s.serve(w, inner); err != nil {
		d.c.Log.Warn("registry request refused: its log can't be stored", "scan_id", g.id, "error", err)
		d.refuse(w, ticket.NPM, err)
	}
}

// open makes the registry of an attempt: it reads the lockfile of the scan's own
// source, and what was logged of the attempt before.
func (d *Depot) open(ctx context.Context, g grant) (*session, error) {
	run, err := d.run(ctx, g.id, g.attempt)
	if err != nil {
		return nil, err
	}
	before, err := d.c.Logs.Load(ctx, g.id, g.attempt)
	if err != nil {
		return nil, err
	}
	project, err := d.project(ctx, run)
	if err != nil {
		return nil, err
	}
	mirror := d.c.Mirror
	if run.Request.Offline {
		mirror = d.c.Offline
	}
	d.count.opened.Inc()
	base := strings.TrimSuffix(d.c.Base, "/") + g.ticket + "/"
	return newSession(g, mirror.Proxy(project, base), before, d.c.Limits, d.c.Logs, d.count), nil
}

// project unpacks the scan's source, reads its lockfile and removes the rest.
func (d *Depot) project(ctx context.Context, run runs.Run) (ecosystem.Project, error) {
	req := run.Request
	manager := d.c.Managers[req.Manager]
	if manager == nil {
		return ecosystem.Project{}, fault.Errorf(fault.Permanent, "depot: package manager %.40q is not supported", req.Manager)
	}
	leave, err := d.transfer(ctx)
	if err != nil {
		return ecosystem.Project{}, err
	}
	defer leave()
	dir, err := os.MkdirTemp(d.c.Scratch, "falconer-depot-")
	if err != nil {
		return ecosystem.Project{}, fault.New("depot: make a folder", fault.Transient, err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			d.c.Log.Error("a scan's source stays behind", "dir", dir, "scan_id", req.ID, "error", err)
		}
	}()
	archive, err := d.c.Sources.Get(ctx, req.Source.Object)
	if err != nil {
		return ecosystem.Project{}, err
	}
	defer archive.Close()
	dir = filepath.Clean(dir)
	if _, err := source.Unpack(ctx, archive, dir, source.Limits{}); err != nil {
		return ecosystem.Project{}, err
	}
	return load(manager, dir, req)
}

// load reads the lockfile, which has to be the one that the request names.
func load(m ecosystem.Manager, dir string, req scan.Request) (ecosystem.Project, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ecosystem.Project{}, fault.New("depot: open source", fault.Transient, err)
	}
	defer root.Close()
	p, err := m.Load(root.FS(), req.Root)
	if err != nil {
		return ecosystem.Project{}, err
	}
	if p.Digest != req.Digest {
		return ecosystem.Project{}, fault.Errorf(fault.Permanent, "depot: %s has digest %s, the request says %s", p.Lockfile, p.Digest, req.Digest)
	}
	return p, nil
}

// transferWait bounds the wait for other sources to be done with.
const transferWait = time.Minute

// transfer waits for a place to move a source.
func (d *Depot) transfer(ctx context.Context) (leave func(), err error) {
	t := time.NewTimer(transferWait)
	defer t.Stop()
	select {
	case d.transfers <- struct{}{}:
		return func() { <-d.transfers }, nil
	case <-ctx.Done():
		return nil, fault.New("depot: wait for other sources", fault.Transient, ctx.Err())
	case <-t.C:
		return nil, fault.Errorf(fault.Transient, "depot: other sources take too long")
	}
}

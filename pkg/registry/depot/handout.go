package depot

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// errUsed is the refusal of a ticket that has had its archive.
var errUsed = fault.Errorf(fault.Unauthorized, "ticket: it was used")

// source hands out the scan's source archive.
func (d *Depot) source(w http.ResponseWriter, r *http.Request, g grant) {
	sent, err := d.handOut(w, r, g)
	d.count.bytes.WithLabelValues(ticket.Source).Add(float64(max(sent, 0)))
	if err == nil {
		return
	}
	d.c.Log.Warn("source not handed out", "scan_id", g.id, "attempt", g.attempt, "sent", sent, "error", err)
	if sent >= 0 {
		panic(http.ErrAbortHandler) // the answer has begun: only a broken connection says that it is not whole
	}
	d.refuse(w, ticket.Source, err)
}

// handOut sends the archive; sent is negative if the answer has not begun.
func (d *Depot) handOut(w http.ResponseWriter, r *http.Request, g grant) (sent int64, err error) {
	run, err := d.run(r.Context(), g.id, g.attempt)
	if err != nil {
		return -1, err
	}
	leave, err := d.transfer(r.Context())
	if err != nil {
		return -1, err
	}
	defer leave()
	archive, err := d.c.Sources.Get(r.Context(), run.Request.Source.Object)
	if err != nil {
		return -1, err
	}
	defer archive.Close()
	first, err := d.c.Marks.Use(r.Context(), g.id, g.attempt)
	if err != nil {
		return -1, err
	}
	if !first {
		return -1, errUsed
	}
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.FormatInt(run.Request.Source.Size, 10))
	sent, err = io.Copy(w, archive)
	if err == nil && sent != run.Request.Source.Size {
		err = fault.Errorf(fault.Permanent, "depot: the archive has %d bytes, the request says %d", sent, run.Request.Source.Size)
	}
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		err = errors.Join(err, d.release(r.Context(), g))
	}
	return sent, err
}

// release lets a ticket be used once more, since its archive did not arrive.
func (d *Depot) release(ctx context.Context, g grant) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return d.c.Marks.Release(ctx, g.id, g.attempt)
}

package reporter

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/report"
)

// Terminal writes reports as text.
type Terminal struct {
	mu      sync.Mutex
	out     io.Writer
	options report.Options
}

var _ Sink = (*Terminal)(nil)

// NewTerminal returns a sink that writes to w, one report at a time.
func NewTerminal(w io.Writer, o report.Options) *Terminal { return &Terminal{out: w, options: o} }

// Name implements Sink.
func (*Terminal) Name() string { return "terminal" }

// Deliver implements Sink. A terminal that is gone is fault.Permanent.
func (t *Terminal) Deliver(_ context.Context, r Report) error {
	var b bytes.Buffer
	var err error
	if r.Result != nil {
		err = report.Text(&b, *r.Result, t.options)
	} else {
		err = report.Rejection(&b, r.Rejected.Project, r.Rejected.Reason, t.options)
	}
	if err != nil {
		return fault.New("write report", fault.Permanent, err)
	}
	b.WriteByte('\n')
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err = t.out.Write(b.Bytes())
	return fault.New("write report", fault.Permanent, err)
}

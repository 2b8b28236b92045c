package planner

import (
	"context"
	"errors"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// ExtReused marks what is told again.
const ExtReused = event.ExtReused

// Results has what scans came to. Get returns results.ErrNotFound (wrapped) for
// a scan without a result; other errors are transient.
type Results interface {
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
}

var _ Results = (*results.Store)(nil)

// reuse takes the requests out of the plan whose scan has an answer, and returns
// the answers. An inconclusive result is none: asking again is how one gets a
// better one.
func (p *Plan) reuse(ctx context.Context, from Results) ([]finding.Result, error) {
	if from == nil {
		return nil, nil
	}
	var open []scan.Request
	var known []finding.Result
	for _, r := range p.Requests {
		result, err := from.Get(ctx, r.ID)
		switch {
		case err == nil && result.Verdict != finding.Inconclusive:
			known = append(known, result)
		case err == nil || errors.Is(err, results.ErrNotFound):
			open = append(open, r)
		default:
			return nil, err
		}
	}
	p.Requests = open
	return known, nil
}

// retell announces results from before, for whoever asked again: a merge request
// that was opened after its commit was scanned, say.
func retell(ctx context.Context, known []finding.Result, to function.Emitter, at time.Time, by ce.Event) error {
	for _, r := range known {
		id := event.ID(event.ScanFinished, string(r.ScanID), ExtReused, by.Source(), by.ID())
		e, err := event.New(event.ScanFinished, event.Source(Name), string(r.ScanID), id, at, r)
		if err != nil {
			return err
		}
		event.Caused(by, &e)
		e.SetExtension(event.ExtScanID, string(r.ScanID))
		e.SetExtension(ExtReused, by.ID())
		if err := to.Emit(ctx, e); err != nil {
			return fault.New("planner: emit "+e.Type(), fault.KindOf(err), err)
		}
	}
	return nil
}

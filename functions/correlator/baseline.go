package correlator

import (
	"context"
	"slices"

	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// baseline returns the result that a scan is compared with, nil for none: the one
// that it was compared with before, if it was, so that an amendment does not
// change sides; else the newest good one of those that its policy names.
func (c *Correlator) baseline(ctx context.Context, s correlate.State, prev *finding.Result) (*finding.Result, error) {
	q := s.Request()
	if c.d.Baseline != nil {
		return c.d.Baseline(q), nil
	}
	candidates := q.Policy.Baseline
	if prev != nil && prev.Baseline.ScanID != "" {
		candidates = slices.Concat([]scan.ID{prev.Baseline.ScanID}, candidates)
	}
	return results.Baseline(ctx, c.d.Results, q, candidates)
}

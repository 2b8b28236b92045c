package results

import (
	"context"
	"errors"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Reader has what scans came to; *Store is one. Get returns ErrNotFound (wrapped)
// for a scan without a result; other errors are transient.
type Reader interface {
	Get(ctx context.Context, id scan.ID) (finding.Result, error)
}

var _ Reader = (*Store)(nil)

// Baseline returns what a request's scan is to be compared with: the first good
// result of the scans named, nil for none. One without a result is passed over,
// and so are the request's own and those of another project root. It is told of
// the request's target branch, whatever branch it was made for: the same commit
// on two branches is one scan.
func Baseline(ctx context.Context, from Reader, q scan.Request, candidates []scan.ID) (*finding.Result, error) {
	for _, id := range candidates {
		if id == q.ID {
			continue
		}
		r, err := from.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		case r.Good() && r.Project == q.Project && r.Root == q.Root && r.Manager == q.Manager:
			if q.Policy.Target != "" {
				r.Ref = q.Policy.Target
			}
			return &r, nil
		}
	}
	return nil, nil
}

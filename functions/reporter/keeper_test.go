package reporter_test

import (
	"context"

	"github.com/falconer-sec/falconer/functions/reporter"
)

// keeper is a sink that keeps what it gets.
type keeper struct{ got *[]reporter.Report }

var _ reporter.Sink = keeper{}

func (keeper) Name() string { return "keeper" }

func (k keeper) Deliver(_ context.Context, r reporter.Report) error {
	*k.got = append(*k.got, r)
	return nil
}

package planner

import (
	"context"
	"errors"
	"io"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab"
)

// Forge fetches sources from GitLab's archive API, as a stream.
type Forge struct{ Client *gitlab.Client }

var _ SourceFetcher = Forge{}

// Fetch implements SourceFetcher. A token that GitLab refuses is
// fault.Transient: the push becomes a dead letter that can be delivered again
// once the token is right, instead of a rejection.
func (f Forge) Fetch(ctx context.Context, p event.Push) (io.ReadCloser, error) {
	r, err := f.Client.Archive(ctx, p.Project, p.After)
	return r, later(err)
}

// later makes what only a person can put right worth another delivery.
func later(err error) error {
	if errors.Is(err, gitlab.ErrRefused) {
		return fault.New("", fault.Transient, err)
	}
	return err
}

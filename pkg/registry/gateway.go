package registry

import (
	"context"
	"net/http"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Gateway is the way to the registries of one kind (ecosystem.Recipe.Registry):
// it fetches beforehand what a project pins, and answers what its install asks
// for. This package's guarantees are what each has to keep.
type Gateway interface {
	// Prefetch makes dir a download cache with what p's lockfile pins, for an
	// install that reaches the registry as base. Errors are those of
	// Mirror.Prefetch.
	Prefetch(ctx context.Context, p ecosystem.Project, dir, base string) (Prefetched, error)
	// Gate answers the sandbox that installs p, in which it is reached as base.
	Gate(p ecosystem.Project, base string) Gate
}

// Gate answers one sandbox's requests, and remembers them.
type Gate interface {
	http.Handler
	// Fetches returns what was asked for so far, refusals included; unlisted
	// counts what exceeded MaxFetches.
	Fetches() (fetches []finding.Fetch, unlisted int)
	// Problems returns what makes the install untrustworthy.
	Problems() []string
}

var (
	_ Gateway = (*Mirror)(nil)
	_ Gate    = (*Proxy)(nil)
)

// Gate implements Gateway.
func (m *Mirror) Gate(p ecosystem.Project, base string) Gate { return m.Proxy(p, base) }

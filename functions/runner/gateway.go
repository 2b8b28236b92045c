package runner

import (
	"context"
	"net/http"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// gateway is the way to the registries that a recipe asks. What the recipe
// needs and this machine lacks is said first: before anything is fetched.
func (r *Runner) gateway(req scan.Request, recipe ecosystem.Recipe) (registry.Gateway, error) {
	if e, ok := r.d.Driver.(sandbox.Equipped); ok {
		if err := e.Equipped(recipe); err != nil {
			return nil, err
		}
	}
	switch open := r.d.Gateways[recipe.Registry]; {
	case open != nil:
		return open(req.Offline)
	case recipe.Registry == ecosystem.RegistryNPM:
		return r.d.Mirror(req.Offline)
	case recipe.Registry == "":
		return none{}, nil
	}
	return nil, fault.Errorf(fault.Permanent, "runner: projects of %s ask a registry of the kind %q, to which there is no way here", req.Manager, recipe.Registry)
}

// none is the way to no registry at all.
type none struct{}

var (
	_ registry.Gateway = none{}
	_ registry.Gate    = none{}
)

// Prefetch implements registry.Gateway.
func (none) Prefetch(context.Context, ecosystem.Project, string, string) (registry.Prefetched, error) {
	return registry.Prefetched{}, nil
}

// Gate implements registry.Gateway.
func (none) Gate(ecosystem.Project, string) registry.Gate { return none{} }

// ServeHTTP implements http.Handler.
func (none) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "there is no registry", http.StatusNotFound)
}

// Fetches implements registry.Gate.
func (none) Fetches() ([]finding.Fetch, int) { return nil, 0 }

// Problems implements registry.Gate.
func (none) Problems() []string { return nil }

package api

import (
	"net/http"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/users"
)

// packageHunter serves Package Hunter's interface beside the API, where
// FALCONER_PACKAGEHUNTER_USERS (or _FILE) names users; without any nobody in a
// cluster could use it, and it is not there.
func packageHunter(mux *http.ServeMux, d serve.Deps, from stores) error {
	who, err := users.FromEnv(d.Env, packagehunter.UsersVariable)
	if err != nil {
		return fault.New("api", fault.Permanent, err)
	}
	if len(who) == 0 {
		return nil
	}
	var managers []string
	for _, m := range from.planner.Managers {
		managers = append(managers, m.Name())
	}
	h := function.TraceRequest(d.Name, d.Tracer, packagehunter.New(packagehunter.Config{Planner: from.planner, Managers: managers, Emitter: d.Emitter,
		Scans: api.Scans(from.scans), Results: from.results, Users: who, Now: time.Now, Log: d.Log}))
	for _, pattern := range packagehunter.Patterns() {
		mux.Handle(pattern, h)
	}
	return nil
}

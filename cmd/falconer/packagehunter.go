package main

import (
	"net/http"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/users"
)

// packageHunter serves Package Hunter's interface, on the same port as all else.
func (n *node) packageHunter(mux *http.ServeMux, who users.Set) {
	var managers []string
	for _, m := range n.planner.Managers {
		managers = append(managers, m.Name())
	}
	h := function.TraceRequest(api.Name, n.tracer, packagehunter.New(packagehunter.Config{Planner: n.planner, Managers: managers, Emitter: n.emit,
		Scans: n.ledger, Results: n.results, Users: who, Now: time.Now, Log: n.c.log}))
	for _, pattern := range packagehunter.Patterns() {
		mux.Handle(pattern, h)
	}
}

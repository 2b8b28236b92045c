package corpus

import (
	"net/http"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/registry"
)

// through serves what m's registries have, with archives at the address under
// which the client reached us.
func through(m *registry.Mirror) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Proxy(ecosystem.Project{}, "http://"+r.Host+"/").ServeHTTP(w, r)
	})
}

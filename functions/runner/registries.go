package runner

import (
	"context"
	"log/slog"
	"time"

	"github.com/falconer-sec/falconer/pkg/registry"
)

// settingsTimeout bounds asking npm for its registries.
const settingsTimeout = time.Minute

// Registries are those that this machine's npm is set up for.
type Registries struct {
	Env   []string // environment that npm is asked in; it may hold credentials
	Cache string   // folder of downloads, kept from scan to scan
	Extra []string // npm cache folders whose content may be used; never written
	Hosts []string // further hosts that packages may be fetched from
	Log   *slog.Logger
}

// Mirror is a Deps.Mirror. It asks npm anew each time, so that a changed
// setting counts from the next scan on.
func (r Registries) Mirror(offline bool) (*registry.Mirror, error) {
	ctx, cancel := context.WithTimeout(context.Background(), settingsTimeout)
	defer cancel()
	settings, err := registry.Configured(ctx, registry.Host{Env: r.Env})
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Options{Config: settings, Cache: r.Cache, Extra: r.Extra, Hosts: r.Hosts, Offline: offline, Log: r.Log})
}

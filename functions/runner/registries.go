package runner

import (
	"context"
	"log/slog"
	"sync/atomic"
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

	ahead atomic.Pointer[chan answer] // what AskAhead hears, for one Mirror
}

// answer is what npm said of its registries.
type answer struct {
	settings registry.Config
	err      error
}

// AskAhead asks npm now, so that the next Mirror need not wait for it: npm
// takes a fifth of a second to say where its registry is. The function it
// returns ends the asking and waits for that end.
func (r *Registries) AskAhead() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan answer, 1), make(chan struct{})
	r.ahead.Store(&heard)
	go func() {
		defer close(done)
		heard <- r.ask(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (r *Registries) ask(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
	defer cancel()
	settings, err := registry.Configured(ctx, registry.Host{Env: r.Env})
	return answer{settings, err}
}

// Mirror is a Deps.Mirror. It asks npm anew each time, so that a changed
// setting counts from the next scan on.
func (r *Registries) Mirror(offline bool) (*registry.Mirror, error) {
	var heard answer
	if ahead := r.ahead.Swap(nil); ahead != nil {
		heard = <-*ahead
	} else {
		heard = r.ask(context.Background())
	}
	if heard.err != nil {
		return nil, heard.err
	}
	return registry.New(registry.Options{Config: heard.settings, Cache: r.Cache, Extra: r.Extra, Hosts: r.Hosts, Offline: offline, Log: r.Log})
}

package depot

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/stream"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// Name is the service's name: its Deployment, its account and its NATS user.
const Name = "registry"

// Ports of the service. Metrics are on one that sandboxes can't reach.
const (
	Port      = "4873"
	AdminPort = "9090"
)

// Connections at a time, of all hosts together and of one. npm opens 15; where
// pods share an address (that of their node), its pods share the part.
const (
	connections     = 2048
	connectionsHost = 256
)

// Service makes the registry service as a process of its own. It reads
//
//	FALCONER_REGISTRY_URL         its own address, as sandboxes know it
//	FALCONER_SCAN_KEY_FILE        the key of scans' tickets, see package ticket
//	FALCONER_NPM_REGISTRY         base URL of the npm registry; or, or as well:
//	FALCONER_NPMRC                a .npmrc, for scopes, credentials and proxies
//	FALCONER_CACHE_DIR            downloads and scratch, by default in the
//	                              temporary directory
//	FALCONER_ALLOW_HOSTS          further hosts that packages may come from,
//	                              separated by commas
//	FALCONER_REGISTRY_ADMIN_PORT  port of /metrics, /healthz and /readyz; AdminPort
//
// and needs NATS_URL. One process serves at a time: it is the one writer of the
// logs of fetches.
func Service(d serve.Deps) (http.Handler, error) {
	if err := d.Require("FALCONER_REGISTRY_URL", ticket.Env, "NATS_URL"); err != nil {
		return nil, err
	}
	c, err := stores(d)
	if err != nil {
		return nil, err
	}
	if c.Key, err = ticket.ReadKey(d.Env); err != nil {
		return nil, fault.New(Name, fault.Permanent, err)
	}
	dir := d.Env("FALCONER_CACHE_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "falconer-cache")
	}
	c.Scratch = filepath.Join(dir, "scratch")
	if err := empty(c.Scratch); err != nil {
		return nil, err
	}
	settings, err := registry.FromFile(os.Environ())
	if err != nil {
		return nil, err
	}
	o := registry.Options{Config: settings, Cache: dir, Hosts: words(d.Env("FALCONER_ALLOW_HOSTS")), Log: d.Log}
	if c.Mirror, err = registry.New(o); err != nil {
		return nil, err
	}
	o.Offline = true
	if c.Offline, err = registry.New(o); err != nil {
		return nil, err
	}
	c.Base, c.Metrics, c.Log = d.Env("FALCONER_REGISTRY_URL"), d.Metrics, d.Log
	c.Managers = managers.ByName()
	depot, err := New(c)
	if err != nil {
		return nil, err
	}
	go depot.Run(d.Context)
	go admin(d)
	return depot, nil
}

// stores opens what is kept on NATS.
func stores(d serve.Deps) (c Config, err error) {
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return c, fault.New("registry: open JetStream", fault.Permanent, err)
	}
	if c.Sources, err = source.OpenStore(d.Context, js, source.StoreConfig{TTL: source.Keep, Replicas: d.Replicas, Guest: true}); err != nil {
		return c, err
	}
	if c.Runs, err = runs.Open(d.Context, d.NATS, stream.Replicas(d.Replicas), stream.Guest()); err != nil {
		return c, err
	}
	if c.Logs, err = fetches.Open(d.Context, d.NATS, stream.Replicas(d.Replicas)); err != nil {
		return c, err
	}
	c.Marks, err = OpenMarks(d.Context, d.NATS, stream.Replicas(d.Replicas))
	return c, err
}

// empty removes what a killed process left in the scratch folder.
func empty(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	return fault.New("registry: scratch folder", fault.Permanent, err)
}

// admin serves metrics and health apart from the sandboxes' port.
func admin(d serve.Deps) {
	port := d.Env("FALCONER_REGISTRY_ADMIN_PORT")
	if port == "" {
		port = AdminPort
	}
	ready := func(context.Context) error {
		if !d.NATS.IsConnected() {
			return fault.Errorf(fault.Transient, "not connected to NATS")
		}
		return nil
	}
	err := serve.Run(d.Context, serve.Config{Addr: ":" + port, Metrics: d.Metrics, Log: d.Log, Ready: ready})
	if err != nil {
		d.Log.Error("metrics and health are not served", "port", port, "error", err)
	}
}

// Listen is how the service listens: on Port unless PORT says otherwise, without
// metrics, and fairly.
func Listen(getenv func(string) string) serve.Option {
	return func(c *serve.Config) {
		port := getenv("PORT")
		if port == "" {
			port = Port
		}
		c.Metrics, c.Addr = nil, ":"+port
		if ln, err := net.Listen("tcp", c.Addr); err == nil { // else serve.Run says why not
			c.Listener = Fair(ln, connections, connectionsHost)
		}
	}
}

// words splits a list at commas and spaces.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

package gvisor

import (
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
)

// gate serves the sandbox's connections to the registry proxy.
type gate struct {
	path     string
	listener *net.UnixListener
	server   *http.Server
	done     sync.WaitGroup
}

// openRelay waits for the one connection of the sandbox's kernel and serves
// handler on what comes through it. A nil handler makes a gate that stays shut.
func openRelay(dir string, handler http.Handler) (*gate, error) {
	g := &gate{}
	if handler == nil {
		return g, nil
	}
	g.path = filepath.Join(dir, "registry.sock")
	var err error
	if g.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: g.path, Net: "unix"}); err != nil {
		return nil, fault.New("gvisor: open the registry's socket", fault.Transient, err)
	}
	g.server = &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	g.done.Go(g.serve)
	return g, nil
}

func (g *gate) serve() {
	conn, err := g.listener.Accept()
	_ = g.listener.Close()
	if err != nil {
		return
	}
	l, err := runtime.Demultiplex(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	defer l.Close()
	_ = g.server.Serve(l) // ends with the sandbox, or with close
}

func (g *gate) options() *runtime.RelayOptions {
	if g.listener == nil {
		return nil
	}
	return &runtime.RelayOptions{Endpoint: g.path, Port: registryPort}
}

// close ends all connections and waits for the server's end.
func (g *gate) close() {
	if g.listener == nil {
		return
	}
	_ = g.listener.Close()
	_ = g.server.Close()
	g.done.Wait()
}

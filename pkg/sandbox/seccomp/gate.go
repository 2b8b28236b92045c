package seccomp

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// gate serves the registry proxy on the machine's loopback while a run lasts.
type gate struct {
	port   uint16
	server *http.Server
	done   sync.WaitGroup
}

// openGate serves handler; nil makes a gate that nobody serves.
func openGate(handler http.Handler) (*gate, error) {
	g := &gate{}
	if handler == nil {
		return g, nil
	}
	// npm finds documents in its cache by their address, so the usual port is
	// the better one.
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", seenRegistry))
	if err != nil {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fault.New("seccomp: serve the registry", fault.Transient, err)
	}
	g.port = netip.MustParseAddrPort(l.Addr().String()).Port()
	g.server = &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	g.done.Go(func() { _ = g.server.Serve(l) }) // ends with close
	return g, nil
}

func (g *gate) url() string { return fmt.Sprintf("http://127.0.0.1:%d/", g.port) }

// close ends all connections and waits for the server's end.
func (g *gate) close() {
	if g.server == nil {
		return
	}
	_ = g.server.Close()
	g.done.Wait()
}

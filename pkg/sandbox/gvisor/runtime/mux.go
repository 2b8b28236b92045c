package runtime

import (
	"net"

	"github.com/hashicorp/yamux"
)

// Demultiplex is the host's side of the relay: a listener of the connections
// that come through conn. Closing the listener closes conn.
func Demultiplex(conn net.Conn) (net.Listener, error) {
	return yamux.Server(conn, muxConfig())
}

package depot

import (
	"net"
	"sync"
)

// Fair wraps a listener: a host gets at most perHost connections at a time, and
// all hosts together at most total; what is beyond is closed at once, so that
// one sandbox can't take the places of others.
func Fair(ln net.Listener, total, perHost int) net.Listener {
	return &fair{Listener: ln, total: total, perHost: perHost, hosts: map[string]int{}}
}

type fair struct {
	net.Listener
	total, perHost int

	mu    sync.Mutex
	all   int
	hosts map[string]int
}

var _ net.Listener = (*fair)(nil)

// Accept returns the next connection that has a place.
func (f *fair) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err != nil {
			host = c.RemoteAddr().String()
		}
		if f.enter(host) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { f.leave(host) })}, nil
		}
		_ = c.Close() // nothing was read or written
	}
}

func (f *fair) enter(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all >= f.total || f.hosts[host] >= f.perHost {
		return false
	}
	f.all++
	f.hosts[host]++
	return true
}

func (f *fair) leave(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	if f.hosts[host]--; f.hosts[host] == 0 {
		delete(f.hosts, host)
	}
}

type fairConn struct {
	net.Conn
	leave func()
}

// Close gives the place back.
func (c *fairConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

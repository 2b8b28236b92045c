package runtime

import (
	"io"
	"sync/atomic"
	"time"
)

// settle is how long nothing has to pass on the relay's open connections until
// what is on them counts as answered. A package manager that waits for a slow
// registry must not see its own timeouts pass.
const settle = 20 * time.Second

// traffic knows whether the sandbox may be waiting for the host.
type traffic struct {
	open  atomic.Int64
	moved atomic.Int64 // when bytes passed last, in ns since began
	began time.Time
}

func newTraffic() *traffic { return &traffic{began: time.Now()} }

// busy reports whether an answer may be on its way.
func (t *traffic) busy() bool {
	return t.open.Load() > 0 && time.Since(t.began)-time.Duration(t.moved.Load()) < settle
}

func (t *traffic) pass() { t.moved.Store(int64(time.Since(t.began))) }

// watch counts conn as open until it is closed.
func (t *traffic) watch(conn io.ReadWriteCloser) io.ReadWriteCloser {
	t.pass()
	t.open.Add(1)
	return &watched{conn, t, atomic.Bool{}}
}

type watched struct {
	io.ReadWriteCloser
	t      *traffic
	closed atomic.Bool
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Read(p)
	w.t.pass()
	return n, err
}

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Write(p)
	w.t.pass()
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	if !w.closed.Swap(true) {
		w.t.open.Add(-1)
	}
	return w.ReadWriteCloser.Close()
}

// Package natsd runs a NATS JetStream server inside this process: the durable
// store of the embedded runtime. In a cluster an external NATS takes its place
// and the rest of the code, which only knows a *nats.Conn, does not notice.
//
// Guarantees: one process owns a data directory at a time (an flock says so);
// what JetStream acknowledged survives a killed process. It survives a power
// cut only with Config.SyncAlways, because JetStream otherwise acknowledges
// once the operating system has the write and flushes every SyncInterval.
// Nothing listens on the network.
package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// SyncInterval is how often JetStream flushes to disk without SyncAlways: what
// a power cut can lose at most.
const SyncInterval = 5 * time.Second

// startTimeout bounds the recovery of streams at start.
const startTimeout = 60 * time.Second

// Config says where the server keeps its data.
type Config struct {
	Dir        string       // data directory; created with mode 0700
	SyncAlways bool         // fsync before each acknowledgement
	MaxStore   int64        // bytes of disk JetStream may use; 0 means 16 GiB
	Log        *slog.Logger // server warnings and errors; nil discards them
}

// ErrInUse is returned by Start when another process owns the data directory.
var ErrInUse = errors.New("data directory is in use by another falconer process")

// Server is a running embedded JetStream server.
type Server struct {
	ns   *server.Server
	lock *os.File
}

// Start starts the server and waits until JetStream has recovered its streams.
// It returns ErrInUse (wrapped) when the directory has an owner.
func Start(c Config) (*Server, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fault.New("natsd: create data directory", fault.Permanent, err)
	}
	lock, err := acquire(filepath.Join(c.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	if c.MaxStore == 0 {
		c.MaxStore = 16 << 30
	}
	ns, err := server.NewServer(&server.Options{
		ServerName:         "falconer",
		DontListen:         true,
		JetStream:          true,
		StoreDir:           c.Dir,
		SyncAlways:         c.SyncAlways,
		SyncInterval:       SyncInterval,
		JetStreamMaxStore:  c.MaxStore,
		JetStreamMaxMemory: 256 << 20,
		MaxPayload:         8 << 20,
		NoSigs:             true,
		NoLog:              c.Log == nil,
	})
	if err != nil {
		_ = lock.Close()
		return nil, fault.New("natsd: configure", fault.Permanent, err)
	}
	if c.Log != nil {
		ns.SetLoggerV2(&logger{c.Log}, false, false, false)
	}
	ns.Start()
	if !ns.ReadyForConnections(startTimeout) {
		ns.Shutdown()
		_ = lock.Close()
		return nil, fault.Errorf(fault.Permanent, "natsd: JetStream in %s was not ready within %s", c.Dir, startTimeout)
	}
	return &Server{ns: ns, lock: lock}, nil
}

// Connect opens an in-process connection. The caller closes it.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s.ns), nats.Name(name), nats.MaxReconnects(-1))
	return nc, fault.New("natsd: connect", fault.Transient, err)
}

// Close stops the server, waits until it has, and gives up the directory.
func (s *Server) Close() error {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	return s.lock.Close()
}

// acquire takes the directory's lock; the kernel frees it when the process
// dies, however it dies.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New("natsd: lock data directory", fault.Permanent, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fault.New("natsd: "+filepath.Dir(path), fault.Permanent, err)
	}
	return f, nil
}

// logger adapts slog to the server's logger; only warnings and worse are kept.
type logger struct{ log *slog.Logger }

func (l *logger) Noticef(string, ...any)    {}
func (l *logger) Debugf(string, ...any)     {}
func (l *logger) Tracef(string, ...any)     {}
func (l *logger) Warnf(f string, a ...any)  { l.log.Warn("nats: " + fmt.Sprintf(f, a...)) }
func (l *logger) Errorf(f string, a ...any) { l.log.Error("nats: " + fmt.Sprintf(f, a...)) }
func (l *logger) Fatalf(f string, a ...any) { l.log.Error("nats: fatal: " + fmt.Sprintf(f, a...)) }

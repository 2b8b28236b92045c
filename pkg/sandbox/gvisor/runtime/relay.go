package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// RelayName is the relay's name in a trace session.
const RelayName = "falconer-relay"

// RelayOptions configures the relay.
type RelayOptions struct {
	// Endpoint is the host's stream socket that takes the connections.
	Endpoint string `json:"endpoint"`
	// Port is where the relay listens on the sandbox's 127.0.0.1.
	Port uint16 `json:"port"`
}

// maxRelayed bounds the connections relayed at once.
const maxRelayed = 1024

// relay is the sandbox's only way out: a listener on its loopback, inside the
// kernel where no process of the sandbox can see or touch it, whose
// connections come out, multiplexed, at one socket of the host. The kernel
// never opens a socket; it inherits this one.
//
// It is a sink in form only: sinks may bring a descriptor into the kernel's
// process, and their first event comes with a task, whose network stack it is.
type relay struct {
	seccheck.SinkDefaults
	options RelayOptions
	pipe    io.ReadWriteCloser
	once    sync.Once
	traffic *traffic
}

var _ seccheck.Sink = (*relay)(nil)

func relayDesc(moved *traffic) seccheck.SinkDesc {
	return seccheck.SinkDesc{Name: RelayName, Setup: setupRelay, New: func(config map[string]any, endpoint *fd.FD) (seccheck.Sink, error) {
		return newRelay(config, endpoint, moved)
	}}
}

// setupRelay connects to the host's side. It runs outside of the sandbox.
func setupRelay(config map[string]any) (*os.File, error) {
	o, err := parseOptions[RelayOptions](RelayName, config)
	if err != nil {
		return nil, err
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("relay socket: %w", err)
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: o.Endpoint}); err != nil {
		_ = unix.Close(s)
		return nil, fmt.Errorf("relay to %s: %w", o.Endpoint, err)
	}
	return os.NewFile(uintptr(s), o.Endpoint), nil
}

func newRelay(config map[string]any, endpoint *fd.FD, moved *traffic) (seccheck.Sink, error) {
	o, err := parseOptions[RelayOptions](RelayName, config)
	if err != nil {
		return nil, err
	}
	if endpoint == nil {
		return nil, errors.New("relay sink has no connection")
	}
	return &relay{options: o, pipe: &blockingFD{endpoint}, traffic: moved}, nil
}

// Name implements seccheck.Sink.
func (*relay) Name() string { return RelayName }

// Stop implements seccheck.Sink.
func (r *relay) Stop() { _ = r.pipe.Close() }

// Syscall implements seccheck.Sink: the first one starts the listener. A
// connect is a call too, so the listener is there before anybody can connect.
func (r *relay) Syscall(ctx context.Context, _ seccheck.FieldSet, _ *pb.ContextData, _ pb.MessageType, _ proto.Message) error {
	r.once.Do(func() {
		if t, ok := ctx.(*kernel.Task); ok {
			r.listen(t)
		}
	})
	return nil
}

func (r *relay) listen(t *kernel.Task) {
	s, ok := t.NetworkContext().(*netstack.Stack)
	if !ok {
		return
	}
	l, err := gonet.ListenTCP(s.Stack, tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: r.options.Port}, ipv4.ProtocolNumber)
	if err != nil {
		return // the package manager finds no registry and fails; the scan says so
	}
	session, err := yamux.Client(r.pipe, muxConfig())
	if err != nil {
		_ = l.Close()
		return
	}
	go r.accept(l, session)
}

func (r *relay) accept(l *gonet.TCPListener, session *yamux.Session) {
	slots := make(chan struct{}, maxRelayed)
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-slots }()
			join(r.traffic.watch(conn), session)
		}()
	}
}

// join copies both ways until either side has ended.
func join(conn io.ReadWriteCloser, session *yamux.Session) {
	defer conn.Close()
	stream, err := session.OpenStream()
	if err != nil {
		return
	}
	defer stream.Close()
	done := make(chan struct{}, 2)
	for _, dir := range [][2]io.ReadWriter{{stream, conn}, {conn, stream}} {
		go func() {
			_, _ = io.Copy(dir[0], dir[1]) // an error is the end of the connection
			done <- struct{}{}
		}()
	}
	<-done
}

// muxConfig is yamux's configuration on both sides.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false // either end dies with the other
	c.ConnectionWriteTimeout = time.Minute
	c.LogOutput = io.Discard
	return c
}

// blockingFD reads and writes a descriptor with plain system calls: the only
// ones that the kernel's own seccomp filters allow on it.
type blockingFD struct{ fd *fd.FD }

// Read implements io.Reader.
func (b *blockingFD) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(b.fd.FD(), p) })
	if err == nil && n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// Write implements io.Writer.
func (b *blockingFD) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := retry(func() (int, error) { return unix.Write(b.fd.FD(), p[done:]) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// Close implements io.Closer.
func (b *blockingFD) Close() error { return b.fd.Close() }

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

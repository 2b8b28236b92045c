package gvisor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
	"github.com/falconer-sec/falconer/pkg/sandbox/sinkhole"
)

// host is this side of a sandbox's sinkhole: it makes the scan's certificate
// authority, has the sandbox trust it, and hands it to the sandbox's kernel. A
// nil host is that of a sandbox without one.
type host struct {
	authority *sinkhole.Authority
	path      string
	listener  *net.UnixListener
	done      sync.WaitGroup
}

// handTimeout bounds how long the kernel may take to read the authority.
const handTimeout = 30 * time.Second

// openSinkhole makes the authority of one run and waits for the one connection
// that takes it: its key is written to no file.
func (d *Driver) openSinkhole(dir string) (*host, error) {
	if !d.c.Sinkhole {
		return nil, nil
	}
	const op = "gvisor: open the sinkhole"
	authority, err := sinkhole.NewAuthority(time.Now())
	if err != nil {
		return nil, fault.New(op, fault.Transient, err)
	}
	text, err := authority.Marshal()
	if err != nil {
		return nil, fault.New(op, fault.Permanent, err)
	}
	h := &host{authority: authority, path: filepath.Join(dir, "sinkhole.sock")}
	if h.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: h.path, Net: "unix"}); err != nil {
		return nil, fault.New(op, fault.Transient, err)
	}
	h.done.Go(func() { h.hand(text) })
	return h, nil
}

// hand gives the authority to whoever connects first; the folder is ours alone.
// A kernel that does not get it does not start, and says so.
func (h *host) hand(text []byte) {
	conn, err := h.listener.Accept()
	_ = h.listener.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(handTimeout)) == nil {
		_, _ = conn.Write(text)
	}
}

func (h *host) options() *runtime.SinkholeOptions {
	if h == nil {
		return nil
	}
	return &runtime.SinkholeOptions{Endpoint: h.path}
}

// close ends the wait for the kernel.
func (h *host) close() {
	if h == nil {
		return
	}
	_ = h.listener.Close()
	h.done.Wait()
}

// Where programs look for the authorities that they trust. The first is made
// up if the host has none.
var trustStores = []string{"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/cert.pem", "etc/ssl/ca-bundle.pem"}

// ownCertificate is the authority's certificate alone.
const ownCertificate = "etc/ssl/certs/build-infrastructure.pem"

// equip points the sandbox at the sinkhole's name server and has it trust the
// sinkhole's authority.
func (h *host) equip(b bundle) error {
	if h == nil {
		return nil
	}
	if err := b.write("etc/resolv.conf", 0o644, "nameserver %s\noptions timeout:2 attempts:2\n", runtime.Nameserver); err != nil {
		return err
	}
	certificate := h.authority.Certificate()
	if err := b.write(ownCertificate, 0o644, "%s", certificate); err != nil {
		return err
	}
	for i, name := range trustStores {
		if err := b.extend(name, certificate, i == 0); err != nil {
			return err
		}
	}
	return nil
}

// extend appends to a file of the root: of a copy, if it is a link.
func (b bundle) extend(name string, more []byte, create bool) error {
	at := filepath.Join(b.root, name)
	text, err := os.ReadFile(at)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(text, '\n')
	}
	return b.write(name, 0o644, "%s%s", text, more)
}

// env points programs that have a store of their own at the system's.
func (h *host) env() []string {
	if h == nil {
		return nil
	}
	return []string{"NODE_EXTRA_CA_CERTS=/" + ownCertificate, "SSL_CERT_FILE=/" + trustStores[0], "REQUESTS_CA_BUNDLE=/" + trustStores[0]}
}

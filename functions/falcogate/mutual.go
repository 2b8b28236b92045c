package falcogate

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Mutual is what the gate's own TLS port needs. Knative's ingress ends TLS
// itself and would have to be believed about whom it let in; so a client that
// shows a certificate connects to the gate directly, and the gate checks.
type Mutual struct {
	CertFile, KeyFile string // the server's, PEM
	ClientCAFile      string // whose certificates open the gate, PEM
}

// recheck is how often the files are looked at: certificates are renewed.
const recheck = 10 * time.Second

// Config returns the TLS configuration, which takes only clients that the CA
// vouches for. Files that change are read again; where they can't be, the
// certificates before stay. The error is fault.Permanent: a file that can't be
// read at the start.
func (m Mutual) Config() (*tls.Config, error) {
	r := &renewed{Mutual: m, now: time.Now}
	if err := r.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current(), nil }}, nil
}

// renewed keeps the configuration up to date with its files.
type renewed struct {
	Mutual
	now func() time.Time

	mu      sync.Mutex
	config  *tls.Config
	checked time.Time
	changed time.Time // latest change of the files that were read
}

func (r *renewed) current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.checked) >= recheck {
		r.checked = now
		if t, err := r.latest(); err == nil && !t.Equal(r.changed) {
			_ = r.read(t) // half-written: the next look finds the rest
		}
	}
	return r.config
}

func (r *renewed) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, err := r.latest()
	if err != nil {
		return fault.New("falcogate: TLS", fault.Permanent, err)
	}
	r.checked = r.now()
	return r.read(t)
}

// latest is when the files changed last.
func (r *renewed) latest() (time.Time, error) {
	var last time.Time
	for _, name := range []string{r.CertFile, r.KeyFile, r.ClientCAFile} {
		info, err := os.Stat(name)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// read reads the files, as they were changed at t.
func (r *renewed) read(t time.Time) error {
	cert, err := tls.LoadX509KeyPair(r.CertFile, r.KeyFile)
	if err != nil {
		return fault.New("falcogate: TLS", fault.Permanent, err)
	}
	pem, err := os.ReadFile(r.ClientCAFile)
	if err != nil {
		return fault.New("falcogate: TLS", fault.Permanent, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fault.Errorf(fault.Permanent, "falcogate: TLS: %s holds no certificate", r.ClientCAFile)
	}
	r.config = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"http/1.1"},
	}
	r.changed = t
	return nil
}

package falcogate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.key = a.newKey()
	der := a.sign(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, &a.key.PublicKey)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PublicKey) []byte {
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// issue returns a certificate and its key as PEM.
func (a *authority) issue(name string) (cert, key []byte) {
	k := a.newKey()
	der := a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, &k.PublicKey)
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("EC PRIVATE KEY", raw)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// write puts files into a directory, dated so that a change shows.
func write(t *testing.T, dir string, at time.Time, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMutual lets in by a certificate of the CA, and nothing else; a token does
// where there is no certificate.
func TestMutual(t *testing.T) {
	ours, theirs, dir := newAuthority(t), newAuthority(t), t.TempDir()
	cert, key := ours.issue("falcogate")
	write(t, dir, time.Now(), map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": block("CERTIFICATE", ours.cert.Raw)})
	config, err := Mutual{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}.Config()
	if err != nil {
		t.Fatal(err)
	}
	g, _ := gate(t, &memory{seen: map[string]bool{}}, Config{Certificates: true})
	secure := httptest.NewUnstartedServer(g)
	secure.TLS = config
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(g)
	defer plain.Close()

	send := func(url string, by *authority, minor bool) (int, error) {
		c := &tls.Config{RootCAs: ours.pool(), ServerName: "falcogate"}
		if by != nil {
			cert, key := by.issue("falcosidekick")
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		if minor {
			c.MaxVersion = tls.VersionTLS11
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 5 * time.Second}
		resp, err := client.Post(url, "application/json", bytes.NewReader([]byte(alertJSON(1))))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	if code, err := send(secure.URL, ours, false); err != nil || code != http.StatusAccepted {
		t.Errorf("with a certificate: %d, %v", code, err)
	}
	for name, by := range map[string]*authority{"no certificate": nil, "another CA's": theirs} {
		if code, err := send(secure.URL, by, false); err == nil {
			t.Errorf("%s: answered %d", name, code)
		}
	}
	if code, err := send(secure.URL, ours, true); err == nil {
		t.Errorf("TLS 1.1: answered %d", code)
	}
	if code, err := send(plain.URL, nil, false); err != nil || code != http.StatusUnauthorized {
		t.Errorf("the plain port: %d, %v", code, err)
	}
}

// TestMutualRenewed reads renewed files, and keeps what it has while they are
// half-written.
func TestMutualRenewed(t *testing.T) {
	a, dir, now := newAuthority(t), t.TempDir(), time.Now()
	write1 := func(at time.Time, name string) {
		cert, key := a.issue(name)
		write(t, dir, at, map[string][]byte{"crt": cert, "key": key, "ca": block("CERTIFICATE", a.cert.Raw)})
	}
	write1(now, "one")
	r := &renewed{Mutual: Mutual{filepath.Join(dir, "crt"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")}, now: func() time.Time { return now }}
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	name := func() string {
		c, err := x509.ParseCertificate(r.current().Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return c.Subject.CommonName
	}
	write(t, dir, now.Add(time.Second), map[string][]byte{"crt": []byte("half")})
	now = now.Add(recheck)
	if got := name(); got != "one" {
		t.Errorf("half-written: %s", got)
	}
	write1(now.Add(time.Second), "two")
	if got := name(); got != "one" {
		t.Errorf("before it looks again: %s", got)
	}
	now = now.Add(recheck)
	if got := name(); got != "two" {
		t.Errorf("renewed: %s", got)
	}
}

func TestMutualRefusesWhatItCannotRead(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	cert, key := a.issue("x")
	write(t, dir, time.Now(), map[string][]byte{"crt": cert, "key": key, "none": []byte("none")})
	p := func(name string) string { return filepath.Join(dir, name) }
	for name, m := range map[string]Mutual{
		"nothing": {}, "no CA": {p("crt"), p("key"), p("missing")}, "a CA without certificate": {p("crt"), p("key"), p("none")}, "wrong key": {p("crt"), p("crt"), p("crt")},
	} {
		if _, err := m.Config(); err == nil || fault.KindOf(err) != fault.Permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

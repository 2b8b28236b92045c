package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/pkg/stream"
)

// natsProcess names the configuration file that makes this test binary a NATS
// server.
const natsProcess = "FALCONER_TEST_NATS_CONFIG"

func TestMain(m *testing.M) {
	if file := os.Getenv(natsProcess); file != "" {
		opts, err := server.ProcessConfigFile(file)
		if err == nil {
			var ns *server.Server
			if ns, err = server.NewServer(opts); err == nil {
				ns.ConfigureLogger()
				ns.Start()
				ns.WaitForShutdown()
				return
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// overlay is the cluster of config/overlays/nats: its three servers as processes,
// with the files that its StatefulSet mounts, but for where they listen and
// where they find each other.
type overlay struct {
	t       *testing.T
	dir     string
	files   map[string]string // of the ConfigMap nats
	clients []int             // ports
	routes  []int
	running []*exec.Cmd
	ca      authority
}

const natsServers = 3

func startOverlay(t *testing.T) *overlay {
	t.Helper()
	o := &overlay{t: t, dir: t.TempDir(), files: natsFiles(t), clients: freePorts(t, natsServers), routes: freePorts(t, natsServers), running: make([]*exec.Cmd, natsServers)}
	o.ca = newAuthority(t, filepath.Join(o.dir, "ca.crt"))
	o.ca.issue(t, filepath.Join(o.dir, "tls.crt"), filepath.Join(o.dir, "tls.key"))
	o.passwords("first")
	t.Cleanup(func() {
		for i := range o.running {
			o.kill(i)
		}
	})
	for i := range natsServers {
		o.start(i)
	}
	return o
}

// natsFiles are the servers' files as kustomize renders them.
func natsFiles(t *testing.T) map[string]string {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/overlays/nats")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range m.Resources() {
		if r.GetKind() != "ConfigMap" || !strings.HasPrefix(r.GetName(), "nats-") {
			continue
		}
		var c corev1.ConfigMap
		if err := yaml.Unmarshal([]byte(r.MustYaml()), &c); err != nil {
			t.Fatal(err)
		}
		if c.Data["nats.conf"] != "" {
			return c.Data
		}
	}
	t.Fatal("the overlay has no nats.conf")
	return nil
}

// passwords gives every user one that ends like this. Servers read it as they start.
func (o *overlay) passwords(suffix string) {
	o.t.Helper()
	var lines strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^\s+user: (\S+)$`).FindAllStringSubmatch(o.files["accounts.conf"], -1) {
		fmt.Fprintf(&lines, "%s_password: %q\n", m[1], m[1]+suffix)
	}
	for i := range natsServers {
		o.write(filepath.Join(o.dir, fmt.Sprint(i), "passwords.conf"), lines.String())
	}
}

func (o *overlay) write(file, text string) {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// start starts a server as its pod would.
func (o *overlay) start(i int) {
	o.t.Helper()
	dir := filepath.Join(o.dir, fmt.Sprint(i))
	pairs := []string{
		"listen: 0.0.0.0:4222", fmt.Sprintf("listen: 127.0.0.1:%d", o.clients[i]),
		"http: 0.0.0.0:8222", "http: 127.0.0.1:-1",
		"listen: 0.0.0.0:6222", fmt.Sprintf("listen: 127.0.0.1:%d", o.routes[i]),
		"store_dir: /data", fmt.Sprintf("store_dir: %q", filepath.Join(dir, "data")),
	}
	for n, port := range o.routes {
		pairs = append(pairs, fmt.Sprintf("nats-%d.nats-servers.falconer.svc.cluster.local:6222", n), fmt.Sprintf("localhost:%d", port))
	}
	conf := o.files["nats.conf"]
	for n := 0; n < len(pairs); n += 2 {
		if !strings.Contains(conf, pairs[n]) {
			o.t.Fatalf("nats.conf has no %q", pairs[n])
		}
		conf = strings.ReplaceAll(conf, pairs[n], pairs[n+1])
	}
	o.write(filepath.Join(dir, "nats.conf"), strings.ReplaceAll(conf, "/etc/nats/tls/", o.dir+"/"))
	o.write(filepath.Join(dir, "accounts.conf"), o.files["accounts.conf"])
	self, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), natsProcess+"="+filepath.Join(dir, "nats.conf"), fmt.Sprintf("POD_NAME=nats-%d", i))
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.running[i] = cmd
}

// kill takes a server away without a word.
func (o *overlay) kill(i int) {
	if cmd := o.running[i]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		o.running[i] = nil
	}
}

// env is a function's environment.
func (o *overlay) env(user, passwordFile, ca string) func(string) string {
	var urls []string
	for _, port := range o.clients {
		urls = append(urls, fmt.Sprintf("nats://localhost:%d", port))
	}
	return env(map[string]string{"NATS_URL": strings.Join(urls, ","), "NATS_USER": user, "NATS_PASSWORD_FILE": passwordFile, "NATS_CA_FILE": ca})
}

func (o *overlay) connect(user, passwordFile, ca string, wait time.Duration) (*nats.Conn, error) {
	o.t.Helper()
	c, err := natsFrom(o.env(user, passwordFile, ca), user, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	c.wait, c.pause = wait, 50*time.Millisecond
	nc, err := c.connect(o.t.Context())
	if err == nil {
		o.t.Cleanup(nc.Close)
	}
	return nc, err
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, file string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "NATS CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if template, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der)
	return authority{template, key}
}

// issue makes the servers' certificate: they show it to clients and each other.
func (a authority) issue(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "nats"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certFile, "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	writePEM(t, keyFile, "PRIVATE KEY", der)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, portOf(t, ln.Addr().String()))
	}
	return ports
}

// TestNATSOverlay runs the overlay's three servers from its own files, and a
// function's client through it: a server of another CA is refused; each server is
// killed and comes back while the client writes; the passwords are replaced, in
// the servers one after the other and in the client's file. What was
// acknowledged is there.
func TestNATSOverlay(t *testing.T) {
	o := startOverlay(t)
	password := passwordFile(t, "runnerfirst")
	nc, err := o.connect("runner", password, filepath.Join(o.dir, "ca.crt"), 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < 0x0304 {
		t.Errorf("TLS %x, %v", state.Version, err)
	}
	stranger := filepath.Join(t.TempDir(), "ca.crt")
	newAuthority(t, stranger)
	var unknown x509.UnknownAuthorityError
	if _, err := o.connect("runner", password, stranger, 300*time.Millisecond); !errors.As(err, &unknown) {
		t.Errorf("another CA: %v", err)
	}
	if _, err := o.connect("runner", password, "", 300*time.Millisecond); err == nil {
		t.Error("without NATS_CA_FILE it connected")
	}
	if _, err := o.connect("runner", passwordFile(t, "runnersecond"), filepath.Join(o.dir, "ca.crt"), time.Second); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}

	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var kv jetstream.KeyValue
	await(t, "the bucket", func(ctx context.Context) (err error) {
		kv, err = stream.KeyValue(ctx, js, jetstream.KeyValueConfig{Bucket: "queue", Storage: jetstream.FileStorage}, stream.Terms{Replicas: 3})
		return err
	})
	stop, acknowledged := make(chan struct{}), map[string]bool{}
	var writes atomic.Int64 // len(acknowledged), for others to see
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			key := fmt.Sprint("k", n)
			if _, err := kv.PutString(ctx, key, "v"); err == nil {
				acknowledged[key] = true
				writes.Add(1)
			}
			cancel()
		}
	})
	o.passwords("second")
	for i := range natsServers {
		if i == 1 { // a Secret reaches the client's file some time
			if err := os.WriteFile(password, []byte("runnersecond"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := writes.Load()
		await(t, "writes between two restarts", func(context.Context) error {
			if n := writes.Load() - before; n < 5 {
				return fmt.Errorf("%d were acknowledged", n)
			}
			return nil
		})
		o.kill(i)
		time.Sleep(200 * time.Millisecond)
		o.start(i)
		await(t, "a write after a restart", func(ctx context.Context) error {
			s, err := js.Stream(ctx, "KV_queue")
			if err != nil {
				return err
			}
			c := s.CachedInfo().Cluster
			if c == nil || len(c.Replicas) != natsServers-1 {
				return fmt.Errorf("the cluster is %+v", c)
			}
			for _, r := range c.Replicas {
				if !r.Current || r.Offline {
					return fmt.Errorf("%s is behind", r.Name)
				}
			}
			_, err = kv.PutString(ctx, "after", fmt.Sprint(i))
			return err
		})
	}
	close(stop)
	writing.Wait()
	for key := range acknowledged {
		await(t, key, func(ctx context.Context) error { _, err := kv.Get(ctx, key); return err })
	}
	if _, err := o.connect("runner", password, filepath.Join(o.dir, "ca.crt"), 5*time.Second); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if _, err := o.connect("runner", passwordFile(t, "runnerfirst"), filepath.Join(o.dir, "ca.crt"), time.Second); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("with the old password: %v", err)
	}
}

// await repeats what may fail while the cluster changes.
func await(t *testing.T, what string, fn func(context.Context) error) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := fn(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

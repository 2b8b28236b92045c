package serve

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

const natsSecret = "not-to-be-seen-anywhere"

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

// guarded starts a server on the loopback that lets in one user.
func guarded(t *testing.T, port int) *server.Server {
	t.Helper()
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, Username: "api", Password: natsSecret, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(5 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return ns
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(address, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func passwordFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNATSSettingsThatCannotWork(t *testing.T) {
	tests := map[string]struct {
		env  map[string]string
		want string
	}{
		"a password in the address": {map[string]string{"NATS_URL": "nats://api:" + natsSecret + "@nats.example:4222"}, "use NATS_USER"},
		"no address":                {map[string]string{"NATS_URL": "%" + natsSecret}, "not a list of addresses"},
		"a user without a password": {map[string]string{"NATS_URL": "nats://n:1", "NATS_USER": "api"}, "neither NATS_PASSWORD"},
		"a password without a user": {map[string]string{"NATS_URL": "nats://n:1", "NATS_PASSWORD": natsSecret}, "no NATS_USER"},
		"two passwords":             {map[string]string{"NATS_URL": "nats://n:1", "NATS_USER": "api", "NATS_PASSWORD": natsSecret, "NATS_PASSWORD_FILE": "/f"}, "both set"},
		"a file that is missing":    {map[string]string{"NATS_URL": "nats://n:1", "NATS_USER": "api", "NATS_PASSWORD_FILE": "/nowhere"}, "NATS_PASSWORD_FILE"},
		"half a certificate":        {map[string]string{"NATS_URL": "nats://n:1", "NATS_CERT_FILE": "/c"}, "needed together"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := natsFrom(env(tc.env), "api", slog.New(slog.DiscardHandler))
			if err == nil || fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), natsSecret) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// TestNATSUser connects with a password from a file, under an inbox of its own,
// is refused with a wrong one at once, and logs neither.
func TestNATSUser(t *testing.T) {
	ns := guarded(t, server.RANDOM_PORT)
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	connect := func(password string) (*nats.Conn, error) {
		c, err := natsFrom(env(map[string]string{"NATS_URL": ns.ClientURL(), "NATS_USER": "api", "NATS_PASSWORD_FILE": passwordFile(t, password)}), "api", log)
		if err != nil {
			t.Fatal(err)
		}
		return c.connect(t.Context())
	}
	nc, err := connect(natsSecret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_api.") {
		t.Errorf("inbox %s", inbox)
	}
	if _, err := connect("wrong-" + natsSecret); !errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), natsSecret) {
		t.Errorf("a wrong password: %v", err)
	}
	nc.Close()
	if strings.Contains(logged.String(), "lost") {
		t.Errorf("closing it logs a loss: %s", logged.String())
	}
	if strings.Contains(logged.String(), natsSecret) {
		t.Errorf("the log tells the password: %s", logged.String())
	}
}

// TestNATSIsWaitedFor: a server that is not there yet is tried again, for as long
// as it says; one that went comes back, to the same connection.
func TestNATSIsWaitedFor(t *testing.T) {
	first := guarded(t, server.RANDOM_PORT)
	address := first.ClientURL()
	c, err := natsFrom(env(map[string]string{"NATS_URL": address, "NATS_USER": "api", "NATS_PASSWORD": natsSecret}), "api", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.wait, c.pause = 10*time.Second, 10*time.Millisecond
	first.Shutdown()
	first.WaitForShutdown()
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := c.connect(t.Context())
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %v", r.err)
	case <-time.After(50 * time.Millisecond):
	}
	second := guarded(t, portOf(t, address))
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.nc.Close()
	second.Shutdown()
	second.WaitForShutdown()
	guarded(t, portOf(t, address))
	for end := time.Now().Add(5 * time.Second); !r.nc.IsConnected(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not connected again")
		}
	}
}

func TestNATSWaitEnds(t *testing.T) {
	c := natsConfig{urls: "nats://127.0.0.1:1", wait: 50 * time.Millisecond, pause: time.Millisecond, log: slog.New(slog.DiscardHandler)}
	if _, err := c.connect(context.Background()); fault.KindOf(err) != fault.Transient || err == nil {
		t.Errorf("got %v", err)
	}
}

func TestReplicas(t *testing.T) {
	for text, want := range map[string]int{"": 1, "3": 3, "0": 0, "6": 0, "many": 0} {
		n, err := replicas(env(map[string]string{"FALCONER_NATS_REPLICAS": text}))
		if n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

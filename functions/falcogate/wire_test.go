package falcogate

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/natsd"
)

// open returns an alert store on disk.
func open(t testing.TB, c alerts.Config) *alerts.Store {
	t.Helper()
	ns, err := natsd.Start(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ns.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := alerts.Open(t.Context(), nc, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		nc.Close()
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// send writes a request byte for byte and returns the answer's status.
func send(t *testing.T, addr string, request []byte) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func file(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var uuids = regexp.MustCompile(`(Ce-Id: |"uuid":")[0-9a-f]{4}`)

// TestCaptures posts real requests of Falcosidekick, byte for byte, then the
// same alerts as Falcosidekick resends them and as Falco itself writes them.
func TestCaptures(t *testing.T) {
	store := open(t, alerts.Config{})
	g, reg := gate(t, store, Config{})
	srv := httptest.NewServer(g)
	defer srv.Close()
	addr := srv.Listener.Addr().String()

	dirs, err := filepath.Glob("testdata/captures/*")
	if err != nil || len(dirs) < 20 {
		t.Fatal(len(dirs), err)
	}
	want := map[string]string{} // digest of Falco's own line → folder
	for _, dir := range dirs {
		own, err := falco.Decode(file(t, dir, "falco.json"))
		if err != nil {
			t.Fatal(err)
		}
		want[own.Digest()] = dir
		request := append(file(t, dir, "headers.txt"), file(t, dir, "body.json")...)
		if code := send(t, addr, request); code != http.StatusAccepted {
			t.Errorf("%s: status %d", dir, code)
		}
		resent := uuids.ReplaceAll(request, []byte("${1}ffff"))
		if bytes.Equal(resent, request) {
			t.Fatalf("%s: nothing to change for a resend", dir)
		}
		if code := send(t, addr, resent); code != http.StatusAccepted {
			t.Errorf("%s, resent: status %d", dir, code)
		}
		resp, err := http.Post(srv.URL+"/falco", "application/json", bytes.NewReader(file(t, dir, "falco.json")))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("%s, Falco's line: status %d", dir, resp.StatusCode)
		}
	}
	got := counts(t, reg)
	balanced(t, got)
	if n := len(dirs); got["stored"] != n || got["duplicate"] != 2*n {
		t.Errorf("%d captures sent three times each: %v", n, got)
	}
	totals, _, err := store.Totals(t.Context(), "alerts.>")
	if err != nil {
		t.Fatal(err)
	}
	for subject := range totals {
		if err := store.Read(t.Context(), subject, 0, func(e alerts.Entry) error {
			if want[e.Digest] == "" {
				t.Errorf("stored an alert that nobody sent: %s", e.Alert.Rule)
			}
			delete(want, e.Digest)
			return e.Err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) > 0 {
		t.Errorf("not stored: %v", want)
	}
}

// TestStoreFull fills the disk that JetStream may use: the gate says 503, and
// what it said 202 to is stored.
func TestStoreFull(t *testing.T) {
	store := open(t, alerts.Config{MaxBytes: 32 << 10})
	g, reg := gate(t, store, Config{})
	accepted, refused := 0, 0
	for n := range 400 {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(alertJSON(n)))))
		switch w.Code {
		case http.StatusAccepted:
			accepted++
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	totals, _, err := store.Totals(t.Context(), "alerts.>")
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, n := range totals {
		stored += int(n)
	}
	if refused == 0 || stored != accepted {
		t.Errorf("%d accepted, %d stored, %d refused", accepted, stored, refused)
	}
	got := counts(t, reg)
	balanced(t, got)
	if got["failed"] != refused || got["stored"] != accepted {
		t.Errorf("counted %v", got)
	}
}

// stuck is a Store that never answers.
type stuck struct{}

func (stuck) Put(ctx context.Context, items []alerts.Item) ([]alerts.Outcome, error) {
	<-ctx.Done()
	out := make([]alerts.Outcome, len(items))
	for i := range out {
		out[i].Err = ctx.Err()
	}
	return out, fault.New("store", fault.Transient, ctx.Err())
}

func TestStoreStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, reg := gate(t, stuck{}, Config{})
		begin := time.Now()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(alertJSON(1)))))
		if w.Code != http.StatusServiceUnavailable || time.Since(begin) != DefaultTimeout {
			t.Errorf("status %d after %s", w.Code, time.Since(begin))
		}
		balanced(t, counts(t, reg))
	})
}

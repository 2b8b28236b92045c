package falcogate

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

// TestClusterFull fills the disks of three servers while alerts come in, and
// makes room again: the gate says 503 meanwhile and nothing else, takes alerts
// afterwards without a restart, and has what it said 202 to, each once.
func TestClusterFull(t *testing.T) {
	const disk = 4 << 20
	cluster := eventtest.NATSCluster(t, 3, func(o *server.Options) { o.JetStreamMaxStore = disk })
	nc := cluster.Connect("test")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	store, err := alerts.Open(t.Context(), nc, alerts.Config{Replicas: 3, MaxBytes: disk / 4, AckTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Storage: jetstream.FileStorage, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	g, reg := gate(t, store, Config{})
	accepted := map[int]bool{}
	next := 0
	post := func() int {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(alertJSON(next)))))
		if w.Code == http.StatusAccepted {
			accepted[next] = true
		} else if w.Code != http.StatusServiceUnavailable {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		next++
		return w.Code
	}
	until := func(code int, between func()) {
		t.Helper()
		for deadline := time.Now().Add(2 * eventtest.Patience); post() != code; {
			if time.Now().After(deadline) {
				t.Fatalf("the gate never answers %d", code)
			}
			between()
		}
	}
	until(http.StatusAccepted, func() { time.Sleep(50 * time.Millisecond) })
	chunk := make([]byte, 256<<10)
	until(http.StatusServiceUnavailable, func() {
		_, _ = js.Publish(t.Context(), "other", chunk) // at last refused as well
	})
	for deadline := time.Now().Add(2 * eventtest.Patience); ; { // a full cluster is slow to answer
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := js.DeleteStream(ctx, "OTHER")
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	until(http.StatusAccepted, func() { time.Sleep(50 * time.Millisecond) })
	for range 20 {
		post()
	}
	// What was refused may be stored all the same: a sender that tries again is
	// recognised. What was accepted must be.
	// Any replica answers, and one may be behind for a while.
	var stored map[string]int
	missing := func() (list []int) {
		for n := range accepted {
			if stored[strconv.Itoa(n)] == 0 {
				list = append(list, n)
			}
		}
		return list
	}
	for deadline := time.Now().Add(2 * eventtest.Patience); ; time.Sleep(50 * time.Millisecond) {
		stored = map[string]int{}
		totals, _, err := store.Totals(t.Context(), "alerts.>")
		if err != nil {
			t.Fatal(err)
		}
		for subject := range totals {
			if err := store.Read(t.Context(), subject, 0, func(e alerts.Entry) error { stored[e.Alert.Field("evt.num")]++; return e.Err }); err != nil {
				t.Fatal(err)
			}
		}
		if len(missing()) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for n := range next {
		num := strconv.Itoa(n)
		if accepted[n] && stored[num] != 1 || stored[num] > 1 {
			t.Errorf("alert %d: accepted %v, stored %d times", n, accepted[n], stored[num])
		}
	}
	got := counts(t, reg)
	balanced(t, got)
	if got["stored"] != len(accepted) || got["failed"] != next-len(accepted) || got["failed"] == 0 {
		t.Errorf("%d of %d accepted, counted %v", len(accepted), next, got)
	}
}

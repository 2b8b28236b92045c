package sensor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// gate serves answers one after the other, then 202, and counts alerts taken.
func gate(t *testing.T, answers ...int) (g *Gate, taken *atomic.Int64, requests *atomic.Int64) {
	t.Helper()
	taken, requests = new(atomic.Int64), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		body, _ := io.ReadAll(r.Body)
		if n <= len(answers) {
			w.WriteHeader(answers[n-1])
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil || r.Header.Get("Authorization") != "Bearer secret-token" || len(body) > maxRequest+maxAlert {
			t.Errorf("%d bytes, %v, %v", len(body), r.Header, err)
		}
		for _, raw := range list {
			if _, err := falco.Decode(raw); err != nil {
				t.Error(err)
			}
		}
		taken.Add(int64(len(list)))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return &Gate{URL: s.URL, Token: "secret-token", Client: s.Client(), Log: slog.New(slog.DiscardHandler)}, taken, requests
}

func alertOf(n, size int) falco.Alert {
	return falco.Alert{Rule: "r", Priority: finding.Critical, Output: fmt.Sprint(n), Time: time.Unix(1, 0).UTC(),
		Fields: map[string]any{"proc.cmdline": strings.Repeat("x", size), falco.FieldChain: []string{"npm ci"}}}
}

func TestGateStoresUntilItIs(t *testing.T) {
	g, taken, requests := gate(t, 503, 401, 404)
	if err := g.Put(t.Context(), testScan, []falco.Alert{alertOf(1, 1), alertOf(2, 1)}); err != nil {
		t.Fatal(err)
	}
	if taken.Load() != 2 || requests.Load() != 4 {
		t.Errorf("%d alerts in %d requests", taken.Load(), requests.Load())
	}
}

func TestGateRefuses(t *testing.T) {
	g, _, requests := gate(t, 400)
	if err := g.Put(t.Context(), testScan, []falco.Alert{alertOf(1, 1)}); fault.KindOf(err) != fault.Permanent || err == nil || requests.Load() != 1 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
}

func TestGateAwayForGood(t *testing.T) {
	g, _, _ := gate(t)
	g.URL = "http://127.0.0.1:1/"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := g.Put(ctx, testScan, []falco.Alert{alertOf(1, 1)}); !fault.Retryable(err) || err == nil {
		t.Errorf("%v", err)
	}
}

func TestGateSplitsWhatIsTooMuch(t *testing.T) {
	g, taken, requests := gate(t)
	var list []falco.Alert
	for n := range 40 {
		list = append(list, alertOf(n, 200<<10))
	}
	if err := g.Put(t.Context(), testScan, list); err != nil {
		t.Fatal(err)
	}
	if taken.Load() != 40 || requests.Load() < 4 {
		t.Errorf("%d alerts in %d requests", taken.Load(), requests.Load())
	}
	if err := g.Put(t.Context(), testScan, nil); err != nil {
		t.Error(err)
	}
}

// TestLongChain cuts a process chain that would not pass the gate, from the
// outermost end, and leaves the caller's alert alone.
func TestLongChain(t *testing.T) {
	a := alertOf(1, 1)
	var chain []string
	for n := range 64 {
		chain = append(chain, strings.Repeat("\x01", 4096)+fmt.Sprint(n)) // six bytes each in JSON
	}
	a.Fields[falco.FieldChain] = chain
	raw, err := encode(a)
	if err != nil || len(raw) > maxAlert {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	b, err := falco.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := b.List(falco.FieldChain)
	if len(got) != 17 || got[0] != "(48 more)" || !strings.HasSuffix(got[16], "63") || len(a.List(falco.FieldChain)) != 64 {
		t.Errorf("%d entries, first %q", len(got), got[0])
	}
}

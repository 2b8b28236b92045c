package gitlabhook

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// BenchmarkLatency sends b.N different pushes at 500 a second, whether or not
// earlier ones were answered, through HTTP into the embedded broker, and reports
// how long their answers took.
func BenchmarkLatency(b *testing.B) {
	const rate = 500
	s, err := natsd.Start(natsd.Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect("bench")
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	set, err := trigger.Load(eventing.FS)
	if err != nil {
		b.Fatal(err)
	}
	to, err := broker.New(b.Context(), broker.Config{Conn: nc, Name: trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker},
		Triggers: set, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = to.Close(context.Background()) }()
	c := config(nil)
	c.Emitter, c.Now = to, time.Now
	srv := httptest.NewServer(Handler(c))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	raw, err := os.ReadFile("testdata/webhooks/push.json")
	if err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, b.N)
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range b.N {
		<-tick.C
		wg.Go(func() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL+"/gitlab/webhook", strings.NewReader(string(raw)))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("X-Gitlab-Token", "new-token")
			r.Header.Set("X-Gitlab-Event", "Push Hook")
			r.Header.Set("Idempotency-Key", strconv.Itoa(i))
			start := time.Now()
			resp, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			took[i] = time.Since(start)
			if resp.StatusCode != http.StatusOK {
				b.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(float64(len(took)-1)*share)].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

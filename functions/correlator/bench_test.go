package correlator_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// joins notes when the correlator was done with which stored alert.
type joins struct {
	mu    sync.Mutex
	at    map[uint64]time.Time
	grown chan struct{}
}

func (j *joins) wrap(h function.Handler) function.Handler {
	return function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		reply, err := h.Handle(ctx, e)
		if err != nil || e.Type() != event.FalcoAlert {
			return reply, err
		}
		now := time.Now()
		a, err := event.Decode[event.Alerts](e)
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, seq := range a.Seqs {
			if _, ok := j.at[seq]; !ok {
				j.at[seq] = now
			}
		}
		select {
		case j.grown <- struct{}{}:
		default:
		}
		return reply, err
	})
}

func (j *joins) await(n int) bool {
	deadline := time.After(60 * time.Second)
	for {
		j.mu.Lock()
		done := len(j.at) >= n
		j.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-j.grown:
		case <-deadline:
			return false
		}
	}
}

// stamped is an alert of 1.4 KB whose time is when it is sent.
func stamped(id scan.ID, n int) string {
	return fmt.Sprintf(`{"output":"alert %d","priority":"Warning","rule":"r%d","hostname":"h","time":%q,"tags":["T1059","behaviour:credential-read"],"output_fields":{"evt.num":%d,"evt.type":"openat","falconer.scan_id":%q,"falconer.package":"pkg:npm/a@1.0.0","falconer.chain":["npm ci","sh -c x","node x.js"],"proc.cmdline":"node x.js","fd.name":"/home/u/.ssh/id_%d","thread.cgroups":"%s"}}`,
		n, n%5, time.Now().UTC().Format(time.RFC3339Nano), n, id, n%20, strings.Repeat("memory=/system.slice ", 48))
}

// cpu is the CPU time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkJoin sends 1,000 alerts a second through HTTP, over a number of
// running scans, and measures how long each takes until the correlator has
// joined it, and the CPU time of the whole process per alert, sender included.
func BenchmarkJoin(b *testing.B) {
	const rate = 1000
	for _, scans := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("scans=%d", scans), func(b *testing.B) {
			j := &joins{at: map[uint64]time.Time{}, grown: make(chan struct{}, 1)}
			n, closeNode, err := startNode(b.Context(), b.TempDir(), alerts.Config{MaxPerRule: 1 << 40}, j.wrap)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := closeNode(); err != nil {
					b.Error(err)
				}
			}()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
			send := func(path, contentType, body string) {
				resp, err := client.Post("http://"+n.addr+path, contentType, strings.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					b.Errorf("status %d", resp.StatusCode)
				}
			}
			// Every scan runs and has an alert already.
			var list []string
			for s := range scans {
				started := event.Started{Request: scan.Request{ID: scanID(s), Project: "p", Root: ".", Manager: "npm"}, Attempt: 1, At: time.Now()}
				e, err := event.New(event.ScanStarted, "/test", string(scanID(s)), event.ID(event.ScanStarted, fmt.Sprint(s)), time.Now(), started)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := n.join.Handle(b.Context(), e); err != nil {
					b.Fatal(err)
				}
				list = append(list, stamped(scanID(s), s))
				if len(list) == 500 || s == scans-1 {
					send("/falco", "application/json", "["+strings.Join(list, ",")+"]")
					list = nil
				}
			}
			if !j.await(scans) {
				b.Fatal("the first alerts are not joined")
			}
			before := cpu()
			b.ResetTimer()
			var wg sync.WaitGroup
			slots := make(chan struct{}, 256)
			begin := time.Now()
			for i := range b.N {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / rate)))
				slots <- struct{}{}
				wg.Go(func() {
					send("/falco", "application/json", stamped(scanID(i*7919%scans), scans+i))
					<-slots
				})
			}
			wg.Wait()
			if !j.await(scans + b.N) {
				b.Fatalf("%d of %d alerts joined", len(j.at), scans+b.N)
			}
			b.StopTimer()
			spent := cpu() - before
			var seqs []uint64
			for seq := range j.at {
				if seq > uint64(scans) {
					seqs = append(seqs, seq)
				}
			}
			var took []time.Duration
			if err := n.alerts.Get(b.Context(), seqs, func(e alerts.Entry) error {
				took = append(took, j.at[e.Seq].Sub(e.Alert.Time))
				return e.Err
			}); err != nil {
				b.Fatal(err)
			}
			slices.Sort(took)
			ms := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
			b.ReportMetric(ms(.5), "p50-ms")
			b.ReportMetric(ms(.99), "p99-ms")
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs/alert")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
		})
	}
}

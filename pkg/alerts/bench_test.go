package alerts

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// payload is the size of a typical alert.
var payload = []byte(`{"x":"` + strings.Repeat("a", 1392) + `"}`)

func scanN(n int) scan.ID { return scan.ID(fmt.Sprintf("%08x-0000-5000-8000-000000000000", n)) }

func sized(id scan.ID, n int64) Item {
	a := falco.Alert{Rule: "r", Output: fmt.Sprint(n), Fields: map[string]any{}}
	return Item{Alert: a, Raw: payload, ScanID: id}
}

func rate(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s") }

// BenchmarkJetStream is the raw rate that Put is compared with.
func BenchmarkJetStream(b *testing.B) {
	s := open(b, Config{MaxPerRule: 1 << 40})
	js, err := jetstream.New(s.nc, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		m := &nats.Msg{Subject: "alerts.scan.raw.r", Data: payload, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprint(n)}}}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(1e10)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	rate(b)
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d/callers=64", size), func(b *testing.B) {
			s := open(b, Config{MaxPerRule: 1 << 40})
			var n atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for {
					list := make([]Item, 0, size)
					for range size {
						if !pb.Next() {
							break
						}
						list = append(list, sized(scanN(0), n.Add(1)))
					}
					if len(list) == 0 {
						return
					}
					if _, err := s.Put(b.Context(), list); err != nil {
						b.Error(err)
						return
					}
				}
			})
			rate(b)
		})
	}
}

// BenchmarkGet shows that the cost of reading one announced alert does not
// depend on how many scans the stream holds.
func BenchmarkGet(b *testing.B) {
	for _, scans := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("scans=%d", scans), func(b *testing.B) {
			s := open(b, Config{MaxPerRule: 1 << 40})
			const stored = 50_000
			for from := 0; from < stored; from += 500 {
				list := make([]Item, 500)
				for i := range list {
					list[i] = sized(scanN((from+i)%scans), int64(from+i))
				}
				if _, err := s.Put(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
			n := uint64(0) // an announced alert is among the newest
			for b.Loop() {
				n++
				if err := s.Get(b.Context(), []uint64{stored - n*7919%1000}, func(Entry) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package falcogate

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

// typical is an alert of 1.4 KB; each has its own number.
func typical(n int64) string {
	return fmt.Sprintf(`{"uuid":"%08x-2ea7-4e74-9e3a-0123456789ab","output":"19:23:53.642495453: Error Shell spawned by package manager number %d (cmdline=sh -c echo pre parent=node /usr/bin/npm install lifecycle=preinstall package=@acme/evil-pkg version=1.2.3 exe=/usr/bin/dash)","priority":"Error","rule":"Package manager lifecycle script spawned shell","time":"2026-11-20T19:23:53.642495453Z","output_fields":{"container.id":"ba65dbf1d160","container.image.repository":null,"evt.num":%d,"evt.time":1795202633642495453,"evt.type":"execve","falconer.scan_id":"%08x-0000-5000-8000-000000000000","proc.aname[2]":"bash","proc.aname[3]":"bash","proc.cmdline":"sh -c echo pre","proc.cwd":"/home/dev/app/node_modules/@acme/evil-pkg/","proc.env[npm_lifecycle_event]":"preinstall","proc.env[npm_package_name]":"@acme/evil-pkg","proc.exepath":"/usr/bin/dash","proc.pcmdline":"node /usr/bin/npm install --offline --no-audit --no-fund --foreground-scripts --dangerously-allow-all-scripts ../evil/acme-evil-pkg-1.2.3.tgz","proc.pid":32411,"proc.ppid":32268,"proc.sname":"bash","proc.tty":0,"thread.cgroups":"%s","user.uid":0},"source":"syscall","tags":["T1059","process","supply-chain"],"hostname":"vm"}`,
		n, n, n, n%10, strings.Repeat("memory=/system.slice ", 14))
}

// cpu is the CPU time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGate measures alerts through real HTTP on loopback into JetStream
// on disk; sender and gate share the machine. "keepalive" and "connections"
// (one TCP connection an alert, as Falcosidekick does it) send one alert a
// request, "batched" a hundred. The CPU time is the sender's and the gate's together.
func BenchmarkGate(b *testing.B) {
	for _, mode := range []struct {
		name    string
		size    int
		keep    bool
		callers int
	}{{"keepalive", 1, true, 64}, {"connections", 1, false, 64}, {"batched", 100, true, 8}} {
		b.Run(mode.name, func(b *testing.B) {
			store := open(b, alerts.Config{MaxPerRule: 1 << 40})
			g, _ := gate(b, store, Config{})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			srv := &http.Server{Handler: g}
			go func() { _ = srv.Serve(ln) }()
			defer srv.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableKeepAlives: !mode.keep}}
			var n, size atomic.Int64
			b.SetParallelism(mode.callers / runtime.GOMAXPROCS(0))
			before := cpu()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for {
					var buf bytes.Buffer
					count := 0
					for ; count < mode.size && pb.Next(); count++ {
						if count > 0 {
							buf.WriteByte(',')
						}
						buf.WriteString(typical(n.Add(1)))
					}
					if count == 0 {
						return
					}
					size.Store(int64(buf.Len() / count))
					body := io.Reader(&buf)
					if mode.size > 1 {
						body = io.MultiReader(strings.NewReader("["), &buf, strings.NewReader("]"))
					}
					resp, err := client.Post("http://"+ln.Addr().String()+"/falco", "application/json", body)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusAccepted {
						b.Errorf("status %d", resp.StatusCode)
						return
					}
				}
			})
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/alert")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
			b.ReportMetric(float64(size.Load()), "bytes/alert")
		})
	}
}

// BenchmarkIntake measures the same alerts by Falcosidekick's NATS output: from
// the first one published, without waiting, until the last one is stored.
func BenchmarkIntake(b *testing.B) {
	store := open(b, alerts.Config{MaxPerRule: 1 << 40})
	nc, reg := eventtest.NATS(b), prometheus.NewRegistry()
	i := intake(b, nc, store, reg, time.Minute)
	before := cpu()
	b.ResetTimer()
	defer running(b, i)()
	stored := func() int { return gateCounts(b, reg)["stored"] }
	for n := range b.N {
		if err := nc.Publish("falco.error.rule", []byte(typical(int64(n)))); err != nil {
			b.Fatal(err)
		}
		for n%1000 == 999 && n-stored() > 50_000 { // so that memory does not measure itself
			time.Sleep(time.Millisecond)
		}
	}
	for deadline := time.Now().Add(time.Minute); stored() < b.N; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d stored", stored(), b.N)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/alert")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
}

package correlator_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// counters reads all falconer_*_alerts_*_total by their short names, summed
// over their labels: "gate received", "correlator joined".
func (n *node) counters(t *testing.T) map[string]int {
	t.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		who, what, ok := strings.Cut(strings.TrimPrefix(f.GetName(), "falconer_"), "_alerts_")
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			got[who+" "+strings.TrimSuffix(what, "_total")] += int(m.GetCounter().GetValue())
		}
	}
	return got
}

// TestEveryAlertIsAccountedFor sends all there is to send, in disorder: alerts
// of running, finished, rejected and unknown scans and of none, repetitions,
// too many of one rule, and what is no alert. Then the books must balance.
func TestEveryAlertIsAccountedFor(t *testing.T) {
	n, closeNode, err := startNode(t.Context(), t.TempDir(), alerts.Config{MaxPerRule: 30}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeNode(); err != nil {
			t.Error(err)
		}
	}()
	const finished, rejected, unknown, loud = 0, 1, 2, 3
	var sends []func()
	post := func(body string) {
		resp, err := http.Post("http://"+n.addr+"/falco", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
	}
	emit := func(typ string, id scan.ID, data any) {
		e, err := event.New(typ, "/test", string(id), event.ID(typ, string(id)), origin, data)
		if err == nil {
			err = n.broker.Emit(t.Context(), e)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, s := range []int{finished, rejected, unknown, loud} {
		for k := range 40 + s/loud*200 {
			sends = append(sends, func() { post(alertText(scanID(s), k)) })
		}
	}
	for k := range 25 {
		sends = append(sends, func() { post(alertText("", k)) }, func() { post(`{"no":"alert"}`) })
	}
	for _, s := range []int{finished, loud} {
		req := scan.Request{ID: scanID(s), Project: "acme/app", Root: ".", Manager: "npm"}
		sends = append(sends,
			func() { emit(event.ScanStarted, req.ID, event.Started{Request: req, Attempt: 1, At: time.Now()}) },
			func() {
				emit(event.SandboxExited, req.ID, event.Exited{Request: req, Attempt: 1, At: time.Now(), Sandbox: finding.Sandbox{Reason: "completed"}})
			})
	}
	sends = append(sends, func() {
		emit(event.ScanRejected, scanID(rejected), event.Rejected{ScanID: scanID(rejected), Reason: "no"})
	})
	rng := rand.New(rand.NewPCG(11, 12))
	for range len(sends) / 4 {
		sends = append(sends, sends[rng.IntN(len(sends))])
	}
	rng.Shuffle(len(sends), func(i, j int) { sends[i], sends[j] = sends[j], sends[i] })
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, send := range sends {
		slots <- struct{}{}
		wg.Go(func() { send(); <-slots })
	}
	wg.Wait()

	deadline := time.Now().Add(30 * time.Second)
	for {
		if err := n.join.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		c := n.counters(t)
		if in, out := c["gate received"], c["gate stored"]+c["gate duplicate"]+c["gate capped"]+c["gate rejected"]+c["gate failed"]; in != out {
			t.Fatalf("the gate received %d and accounts for %d: %v", in, out, c)
		}
		placed := c["correlator joined"] + c["correlator duplicate"] + c["correlator unmatched"] - c["correlator rejoined"] + c["correlator refused"]
		problem := ""
		if placed != c["gate stored"] {
			problem = fmt.Sprintf("stored %d, in their place %d: %v", c["gate stored"], placed, c)
		}
		for _, what := range []string{"gate stored", "gate duplicate", "gate capped", "gate rejected", "correlator joined", "correlator unmatched", "correlator refused"} {
			if c[what] == 0 && problem == "" {
				problem = "the test sent nothing that counts as " + what
			}
		}
		if problem == "" {
			r, err := n.results.Get(t.Context(), scanID(loud))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != finding.Inconclusive || r.Counts.Capped == 0 {
				t.Errorf("the loud scan is %s, %+v", r.Verdict, r.Counts)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(problem)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

package correlator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/correlate"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// origin is when the tests' scans start.
var origin = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

// rig is a correlator on real stores, with a clock and a broker of its own.
type rig struct {
	t       testing.TB
	nc      *nats.Conn
	alerts  *alerts.Store
	results *results.Store
	states  *kv.Store
	c       *Correlator
	reg     *prometheus.Registry
	grace   correlate.Grace

	mu      sync.Mutex
	now     time.Time
	fails   int        // emissions that fail from now on
	counted func()     // runs once, after the next count of stored alerts
	sent    []ce.Event // in order, each ID once, as a broker stores them
	ids     map[string]int
}

func newRig(t testing.TB, c alerts.Config) *rig {
	t.Helper()
	r := &rig{t: t, nc: eventtest.NATS(t), now: origin, ids: map[string]int{}}
	var err error
	if r.alerts, err = alerts.Open(t.Context(), r.nc, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.alerts.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.states, err = kv.Open(t.Context(), r.nc, kv.Config{}); err != nil {
		t.Fatal(err)
	}
	if r.results, err = results.Open(t.Context(), r.nc, results.Config{}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	return r
}

// restart makes a new correlator without the old one's memory.
func (r *rig) restart() {
	r.t.Helper()
	r.reg = prometheus.NewRegistry()
	var err error
	r.c, err = New(Deps{
		States: r.states, Alerts: counting{r.alerts, r}, Results: r.results, Emit: r, Metrics: r.reg,
		Now: r.clock, AmendAfter: time.Nanosecond, Grace: r.grace,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// counting is the alert store, with something happening between a count of
// what it holds and the reading of it.
type counting struct {
	*alerts.Store
	r *rig
}

func (c counting) Totals(ctx context.Context, filter string) (map[string]uint64, uint64, error) {
	m, upTo, err := c.Store.Totals(ctx, filter)
	if fn := c.r.counted; fn != nil {
		c.r.counted = nil
		fn()
	}
	return m, upTo, err
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) Emit(_ context.Context, e ce.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		r.fails--
		return errors.New("broker is away")
	}
	if r.ids[e.ID()]++; r.ids[e.ID()] == 1 {
		r.sent = append(r.sent, e)
	}
	return nil
}

func (r *rig) events(typ string) (list []ce.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.sent {
		if e.Type() == typ {
			list = append(list, e)
		}
	}
	return list
}

func (r *rig) handle(typ string, data any) error {
	r.t.Helper()
	return r.handleAt(origin, typ, data)
}

// handleAt handles an event of a time.
func (r *rig) handleAt(at time.Time, typ string, data any) error {
	r.t.Helper()
	b, err := json.Marshal(data)
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := event.New(typ, "/test", "s", event.ID(typ, string(b)), at, data)
	if err != nil {
		r.t.Fatal(err)
	}
	reply, err := r.c.Handle(r.t.Context(), e)
	if reply != nil {
		r.t.Errorf("%s is replied to", typ)
	}
	return err
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func scanID(n int) scan.ID { return scan.ID(fmt.Sprintf("%08x-0000-5000-8000-000000000000", n)) }

func request(id scan.ID) scan.Request {
	return scan.Request{ID: id, Project: "acme/app", Commit: "c0ffee", Root: ".", Manager: "npm", Lockfile: "package-lock.json", Rules: "1", Recipe: "1", TimeoutSeconds: 60}
}

func started(id scan.ID, attempt int) event.Started {
	return event.Started{Request: request(id), Attempt: attempt, At: origin.Add(time.Duration(attempt) * time.Minute), Sandbox: "gvisor"}
}

func exited(id scan.ID, attempt int, stored int64) event.Exited {
	return event.Exited{
		Request: request(id), Attempt: attempt, At: origin.Add(time.Duration(attempt)*time.Minute + 30*time.Second),
		Sandbox: finding.Sandbox{Kind: "gvisor", Reason: "completed"}, AlertsStored: stored, Packages: 12, Log: "added 12 packages",
		InstallScripts: []finding.ScriptPackage{{Package: finding.Package{PURL: "pkg:npm/a@1.0.0"}}},
		Fetches:        []finding.Fetch{{Name: "a", Version: "1.0.0", Size: 7}},
	}
}

// alert is the n-th alert of a scan, or of none.
func alert(id scan.ID, n int, p finding.Priority) falco.Alert {
	a := falco.Alert{
		Rule: "rule " + p.String(), Priority: p, Output: fmt.Sprintf("alert %d", n), Hostname: "h", Time: origin.Add(time.Duration(n) * time.Second),
		Tags:   []string{"behaviour:credential-read"},
		Fields: map[string]any{"evt.num": json.Number(fmt.Sprint(n)), "proc.cmdline": "cat key", "fd.name": "/home/u/.ssh/id", falco.FieldPackage: "pkg:npm/a@1.0.0", falco.FieldScript: "postinstall"},
	}
	if id != "" {
		a.Fields[falco.FieldScanID] = string(id)
	} else {
		a.Fields["k8s.ns.name"], a.Fields["k8s.pod.name"] = "web", "front-1"
	}
	return a
}

// put stores alerts and returns the announcement for them.
func (r *rig) put(list ...falco.Alert) event.Alerts {
	r.t.Helper()
	items := make([]alerts.Item, len(list))
	for i, a := range list {
		items[i] = alerts.Item{Alert: a}
	}
	outcomes, err := r.alerts.Put(r.t.Context(), items)
	r.must(err)
	id, _ := list[0].Scan()
	ns, pod := list[0].Pod()
	n := event.Alerts{ScanID: id, Subject: alerts.OtherSubject(ns, pod)}
	if id != "" {
		n.Subject = alerts.ScanSubject(id)
	}
	for _, o := range outcomes {
		if o.Status == alerts.Capped {
			continue
		}
		if n.Count++; n.Count == 1 {
			n.First = o.Seq
		}
		n.Last = max(n.Last, o.Seq)
		n.Seqs = append(n.Seqs, o.Seq)
	}
	return n
}

// metrics reads the correlator's counters by their short names.
func (r *rig) metrics() map[string]int64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	r.must(err)
	got := map[string]int64{}
	for _, f := range families {
		name := strings.TrimSuffix(strings.TrimPrefix(f.GetName(), "falconer_correlator_"), "_total")
		for _, m := range f.GetMetric() {
			got[name] += int64(m.GetCounter().GetValue())
		}
	}
	return got
}

func (r *rig) result(id scan.ID) finding.Result {
	r.t.Helper()
	res, err := r.results.Get(r.t.Context(), id)
	r.must(err)
	return res
}

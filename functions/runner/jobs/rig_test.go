package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

const namespace = "falconer-sandbox"

// rig is a cluster of one NATS server, one API server and any number of runners.
type rig struct {
	t     *testing.T
	nc    *nats.Conn
	set   *fake.Clientset
	deps  Deps
	req   scan.Request // a request that can be served; see request
	mu    sync.Mutex
	clock time.Time
	out   []ce.Event // what the broker was given, replies included
	known map[string]bool
}

func newRig(t *testing.T, limit int) *rig {
	t.Helper()
	g := &rig{t: t, nc: eventtest.NATS(t), set: fake.NewClientset(), clock: eventtest.At(), known: map[string]bool{}}
	js, err := jetstream.New(g.nc)
	if err != nil {
		t.Fatal(err)
	}
	sources, err := source.OpenStore(t.Context(), js, source.StoreConfig{Spool: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	published, err := results.Open(t.Context(), g.nc, results.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := runner.OpenLedger(t.Context(), g.nc, published)
	if err != nil {
		t.Fatal(err)
	}
	records, err := runs.Open(t.Context(), g.nc)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := OpenQueue(t.Context(), g.nc)
	if err != nil {
		t.Fatal(err)
	}
	g.deps = Deps{
		Queue: queue, Runs: records, Ledger: ledger, Sources: sources, Managers: map[string]ecosystem.Manager{"npm": npm.Manager{}},
		Config:   kubernetes.Config{Namespace: namespace, Image: "npm:v1", StageImage: "stage:v1"},
		Registry: func(context.Context) (string, error) { return "http://192.0.2.7:4873", nil },
		Key:      ticket.Key(strings.Repeat("k", 32)), Sensor: event.SensorGVisor, Limit: limit, TempDir: t.TempDir(),
		Emit: function.EmitterFunc(g.emit), Now: g.now, Log: eventtest.Log(t),
	}
	g.deps.Cluster = kubernetes.Cluster{Config: g.deps.Config, Jobs: g.set.BatchV1().Jobs(namespace)}
	g.req = g.project(map[string]string{
		"package.json": `{"name":"a","version":"1.0.0","dependencies":{"b":"1.0.0"}}`,
		"package-lock.json": `{"name":"a","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
			"":{"name":"a","version":"1.0.0","dependencies":{"b":"1.0.0"}},
			"node_modules/b":{"version":"1.0.0","resolved":"http://registry.example.com/b/-/b-1.0.0.tgz","hasInstallScript":true}}}`,
	})
	return g
}

// anew empties the cluster and the broker; requests are for other scans than
// before.
func (g *rig) anew(n int) {
	g.out, g.known = nil, map[string]bool{}
	for _, name := range g.jobs() {
		if err := g.set.BatchV1().Jobs(namespace).Delete(g.t.Context(), kubernetes.AppName+"-"+name, metav1.DeleteOptions{}); err != nil {
			g.t.Fatal(err)
		}
	}
	g.req.Rules = fmt.Sprint("rules ", n)
}

// project stores a source and returns a request for its top folder.
func (g *rig) project(files map[string]string) scan.Request {
	g.t.Helper()
	dir := g.t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := source.Pack(g.t.Context(), dir, &b, source.Limits{}); err != nil {
		g.t.Fatal(err)
	}
	stored, err := g.deps.Sources.Put(g.t.Context(), &b)
	if err != nil {
		g.t.Fatal(err)
	}
	p, err := npm.Manager{}.Load(os.DirFS(dir), ".")
	if err != nil {
		g.t.Fatal(err)
	}
	return scan.Request{Root: ".", Manager: "npm", Lockfile: p.Lockfile, Digest: p.Digest, Recipe: npm.RecipeVersion, Rules: "r1", Source: stored}
}

func (g *rig) now() time.Time { g.mu.Lock(); defer g.mu.Unlock(); return g.clock }

func (g *rig) pass(d time.Duration) { g.mu.Lock(); defer g.mu.Unlock(); g.clock = g.clock.Add(d) }

// emit is a broker: what it has seen it does not pass on again.
func (g *rig) emit(_ context.Context, e ce.Event) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id := e.Source() + " " + e.ID(); !g.known[id] {
		g.known[id] = true
		g.out = append(g.out, e)
	}
	return nil
}

// runner makes another process.
func (g *rig) runner() *Runner { return New(g.deps) }

// request is a scan of "project" or "project@ref" at a commit.
func (g *rig) request(project, commit string, change ...func(*scan.Request)) scan.Request {
	r := g.req
	r.Commit = commit
	r.Project, r.Ref, _ = strings.Cut(project, "@")
	for _, f := range change {
		f(&r)
	}
	r.ID = r.Key().ID()
	return r
}

// asked is the event that asks for a scan.
func (g *rig) asked(r scan.Request) ce.Event {
	e, err := event.New(event.ScanRequested, event.Source("planner"), string(r.ID), event.ID(event.ScanRequested, string(r.ID)), g.now(), r)
	if err != nil {
		g.t.Fatal(err)
	}
	e.SetExtension(event.ExtTraceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return e
}

// ended lets a Job end and is the event that tells of it.
func (g *rig) ended(r scan.Request, attempt int) ce.Event {
	jobs := g.set.BatchV1().Jobs(namespace)
	if j, err := jobs.Get(g.t.Context(), kubernetes.JobName(r.ID, attempt), metav1.GetOptions{}); err == nil {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		if _, err := jobs.UpdateStatus(g.t.Context(), j, metav1.UpdateOptions{}); err != nil {
			g.t.Fatal(err)
		}
	}
	e, err := event.New(event.SandboxExited, event.Source("jobwatch"), string(r.ID), event.ID(event.SandboxExited, string(r.ID), attemptOf(attempt)), g.now(), event.Exited{Request: r, Attempt: attempt})
	if err != nil {
		g.t.Fatal(err)
	}
	return e
}

func (g *rig) ping() ce.Event {
	e := eventtest.Event(event.Ping, "ping-"+g.now().String())
	return e
}

// deliver hands an event over once; a reply goes to the broker.
func (g *rig) deliver(r *Runner, e ce.Event) error {
	reply, err := r.Handle(g.t.Context(), e)
	if err == nil && reply != nil {
		err = g.emit(g.t.Context(), *reply)
	}
	return err
}

// must delivers events that are expected to succeed.
func (g *rig) must(r *Runner, events ...ce.Event) {
	g.t.Helper()
	for _, e := range events {
		if err := g.deliver(r, e); err != nil {
			g.t.Fatalf("%s %s: %v", e.Type(), e.Subject(), err)
		}
	}
}

// jobs are the names of the Jobs that exist, without their common beginning.
func (g *rig) jobs() []string {
	g.t.Helper()
	list, err := g.set.BatchV1().Jobs(namespace).List(g.t.Context(), metav1.ListOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	var names []string
	for _, j := range list.Items {
		names = append(names, strings.TrimPrefix(j.Name, kubernetes.AppName+"-"))
	}
	slices.Sort(names)
	return names
}

// events are the subjects of the broker's events of a type, in order.
func (g *rig) events(typ string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var subjects []string
	for _, e := range g.out {
		if e.Type() == typ {
			subjects = append(subjects, e.Subject())
		}
	}
	return subjects
}

// reasons are why scans were rejected.
func (g *rig) reasons() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for _, e := range g.out {
		if e.Type() == event.ScanRejected {
			var x event.Rejected
			if err := json.Unmarshal(e.Data(), &x); err != nil {
				g.t.Fatal(err)
			}
			list = append(list, x.Reason)
		}
	}
	return list
}

// queue is what is in the queue, as "project-less" lines.
func (g *rig) queue() map[scan.ID]phase {
	g.t.Helper()
	s, _, err := g.deps.Queue.read(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	out := map[scan.ID]phase{}
	for _, e := range s.Entries {
		out[e.ID] = e.Phase
	}
	return out
}

// ids are the requests' IDs as strings.
func ids(list ...scan.Request) []string {
	var out []string
	for _, r := range list {
		out = append(out, string(r.ID))
	}
	return out
}

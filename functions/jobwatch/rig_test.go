package jobwatch

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const (
	namespace = "falconer-sandbox"
	id        = scan.ID("0b8f6f52-6b3c-5d3f-8b1e-4f6a0a9f1c11")
)

// place is a Cluster in memory, which fails on demand.
type place struct {
	mu      sync.Mutex
	jobs    map[string]*batchv1.Job
	pods    []corev1.Pod
	events  []corev1.Event
	log     string
	deleted []string
	broken  map[string]int // calls of a method that fail from now on
	calls   map[string]int
}

var _ Cluster = (*place)(nil)

var errAway = errors.New("the API server is away")

func (p *place) call(method string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[method]++
	if p.broken[method] > 0 {
		p.broken[method]--
		return fault.New(method, fault.Transient, errAway)
	}
	return nil
}

func (p *place) Job(_ context.Context, name string) (*batchv1.Job, error) {
	if err := p.call("Job"); err != nil {
		return nil, err
	}
	if j := p.jobs[name]; j != nil {
		return j, nil
	}
	return nil, fault.New("get", fault.Permanent, ErrNoJob)
}

func (p *place) Jobs(context.Context) (all []batchv1.Job, err error) {
	for _, j := range p.jobs {
		all = append(all, *j)
	}
	return all, p.call("Jobs")
}

func (p *place) Pods(_ context.Context, job string) (list []corev1.Pod, err error) {
	for _, pod := range p.pods {
		if strings.HasPrefix(pod.Name, job+"-") {
			list = append(list, pod)
		}
	}
	return list, p.call("Pods")
}

func (p *place) Events(_ context.Context, kind, name string) (list []corev1.Event, err error) {
	for _, e := range p.events {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
			list = append(list, e)
		}
	}
	return list, p.call("Events")
}

func (p *place) Log(_ context.Context, pod, container string) (io.ReadCloser, error) {
	if container != kubernetes.InstallName {
		return nil, errors.New("another container's log is read")
	}
	return io.NopCloser(strings.NewReader(p.log)), p.call("Log")
}

func (p *place) Delete(_ context.Context, name string, _ types.UID) error {
	if err := p.call("Delete"); err != nil {
		return err
	}
	p.deleted = append(p.deleted, name)
	return nil
}

// shop is the registry service's log.
type shop struct {
	log fetches.Log
	err error
}

func (s *shop) Fetches(context.Context, scan.ID, int) (fetches.Log, error) { return s.log, s.err }

// rig is jobwatch between a cluster in memory and real stores.
type rig struct {
	t       testing.TB
	cluster *place
	shop    *shop
	runs    *runs.Store
	marks   *JetStreamMarks
	sent    *eventtest.Recorder
	emitErr error
	now     time.Time
	watch   *Watch
}

func newRig(t testing.TB) *rig {
	t.Helper()
	nc := eventtest.NATS(t)
	r := &rig{t: t, cluster: &place{jobs: map[string]*batchv1.Job{}, broken: map[string]int{}, calls: map[string]int{}}, shop: &shop{}, sent: &eventtest.Recorder{}, now: eventtest.At()}
	r.shop.log.Fetches = []finding.Fetch{{Name: "left-pad", Version: "1.3.0", Size: 5}}
	var err error
	if r.runs, err = runs.Open(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	if r.marks, err = OpenMarks(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	r.watch = New(Deps{
		Namespace: namespace, Cluster: r.cluster, Runs: r.runs, Fetches: r.shop, Marks: r.marks, Log: eventtest.Log(t),
		Now: func() time.Time { return r.now },
		Emit: function.EmitterFunc(func(ctx context.Context, e ce.Event) error {
			if r.emitErr != nil {
				return r.emitErr
			}
			return r.sent.Emit(ctx, e)
		}),
	})
	return r
}

// run records an attempt.
func (r *rig) run(id scan.ID, attempt int, change func(*runs.Run)) {
	r.t.Helper()
	run := runs.Run{
		Request: scan.Request{ID: id, Project: "acme/shop", Root: ".", Manager: "npm", Source: scan.Source{Object: "o", Digest: "d"}},
		Attempt: attempt, Job: kubernetes.JobName(id, attempt), Namespace: namespace, Sensor: event.SensorFalco, Packages: 2,
		InstallScripts: []finding.ScriptPackage{{Package: finding.Package{PURL: "pkg:npm/a@1.0.0", Name: "a"}}},
		Created:        r.now, Deadline: r.now.Add(15 * time.Minute), Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	if change != nil {
		change(&run)
	}
	if err := r.runs.Put(r.t.Context(), run); err != nil {
		r.t.Fatal(err)
	}
}

// hear hands the function an ApiServerSource's event.
func (r *rig) hear(typ string, data any) error {
	r.t.Helper()
	e := ce.New()
	e.SetID("1")
	e.SetType(typ)
	e.SetSource("https://kubernetes.example.com")
	if err := e.SetData(ce.ApplicationJSON, data); err != nil {
		r.t.Fatal(err)
	}
	reply, err := r.watch.Handle(r.t.Context(), e)
	if reply != nil {
		r.t.Errorf("a reply: %v", reply)
	}
	return err
}

// exits are the data of what was emitted.
func (r *rig) exits() (list []event.Exited) {
	r.t.Helper()
	for _, e := range r.sent.Events() {
		x, err := event.Decode[event.Exited](e)
		if err != nil || e.Type() != event.SandboxExited {
			r.t.Fatalf("%s: %v", e.Type(), err)
		}
		list = append(list, x)
	}
	return list
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

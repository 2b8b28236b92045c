package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktesting "k8s.io/client-go/testing"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

func TestARequestBecomesAJob(t *testing.T) {
	g := newRig(t, 2)
	a := g.request("acme/a@main", "c1")
	g.must(g.runner(), g.asked(a))
	if diff := cmp.Diff(ids(a), g.jobs()); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(ids(a), g.events(event.ScanStarted)); diff != "" {
		t.Fatal(diff)
	}
	started, err := event.Decode[event.Started](g.out[0])
	if diff := cmp.Diff(event.Started{Request: a, Attempt: 1, At: g.clock, Sandbox: "kubernetes", Sensor: "gvisor"}, started); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if event.Extension(g.out[0], event.ExtTraceparent) == "" || event.Extension(g.out[0], event.ExtScanID) != string(a.ID) {
		t.Errorf("extensions %v", g.out[0].Extensions())
	}
	run, err := g.deps.Runs.Get(t.Context(), a.ID)
	if err != nil || run.Packages != 1 || len(run.InstallScripts) != 1 || run.Job != "falconer-scan-"+string(a.ID) || run.Traceparent == "" {
		t.Errorf("record %+v, %v", run, err)
	}
}

// The Job's addresses carry tickets that the registry service takes.
func TestTickets(t *testing.T) {
	g := newRig(t, 1)
	a := g.request("acme/a", "c1")
	g.must(g.runner(), g.asked(a))
	job, err := g.set.BatchV1().Jobs(namespace).Get(t.Context(), kubernetes.JobName(a.ID, 1), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.Template.Spec
	var src, reg string
	for _, v := range pod.InitContainers[0].Env {
		if v.Name == "FALCONER_STAGE_SOURCE" {
			src = v.Value
		}
	}
	for _, v := range pod.Containers[0].Env {
		if v.Name == "npm_config_registry" {
			reg = v.Value
		}
		if v.Name == falco.MarkerEnv && v.Value != string(a.ID) {
			t.Errorf("marker %q", v.Value)
		}
	}
	for purpose, address := range map[string]string{ticket.Source: src, ticket.NPM: reg} {
		path, ok := strings.CutPrefix(address, "http://192.0.2.7:4873")
		id, attempt, rest, err := g.deps.Key.Check(purpose, path, g.clock)
		if !ok || err != nil || id != a.ID || attempt != 1 || strings.Trim(rest, "/") != "" {
			t.Errorf("%s: %q: %v", purpose, address, err)
		}
	}
	if _, _, _, err := g.deps.Key.Check(ticket.Source, strings.TrimPrefix(src, "http://192.0.2.7:4873"), g.clock.Add(SourceTicket)); fault.KindOf(err) != fault.Unauthorized {
		t.Errorf("the source's ticket stays good: %v", err)
	}
	raw, err := json.Marshal(job)
	if err != nil || strings.Contains(string(raw), "registry.invalid") {
		t.Errorf("%v: the registry's place is still empty", err)
	}
}

func TestSlotsAreLimitedAndPassedOn(t *testing.T) {
	g, r := newRig(t, 2), (*Runner)(nil)
	r = g.runner()
	a, b, c := g.request("a", "1"), g.request("b", "1"), g.request("c", "1")
	g.must(r, g.asked(a), g.asked(b), g.asked(c))
	if diff := cmp.Diff(ids(a, b), g.events(event.ScanStarted)); diff != "" {
		t.Fatal(diff)
	}
	g.must(r, g.ended(a, 1), g.ended(a, 1)) // the second delivery frees nobody else's slot
	if diff := cmp.Diff(ids(a, b, c), g.events(event.ScanStarted)); diff != "" {
		t.Fatal(diff)
	}
	rejected, err := event.New(event.ScanRejected, event.Source("jobwatch"), string(b.ID), "x", g.now(), event.Rejected{ScanID: b.ID, By: "jobwatch"})
	if err != nil {
		t.Fatal(err)
	}
	g.must(r, rejected, g.ended(c, 1))
	if q := g.queue(); len(q) != 0 {
		t.Errorf("still in the queue: %v", q)
	}
}

func TestTheSameRequestTwice(t *testing.T) {
	g := newRig(t, 1)
	r, a, b := g.runner(), g.request("a", "1"), g.request("b", "1")
	ea, eb := g.asked(a), g.asked(b)
	g.must(r, ea, eb, eb, ea)
	g.must(g.runner(), ea, eb)
	g.must(r, g.ended(a, 1), ea) // served, and delivered late once more
	g.must(r, g.ended(b, 1), ea, eb)
	if diff := cmp.Diff(ids(a, b), g.events(event.ScanStarted)); diff != "" {
		t.Error(diff)
	}
	g.pass(time.Hour)
	g.must(r, g.asked(a)) // somebody asks anew: the first result may have been inconclusive
	if diff := cmp.Diff(ids(a, b, a), g.events(event.ScanStarted)); diff != "" {
		t.Error(diff)
	}
	if jobs := g.jobs(); !slices.Contains(jobs, string(a.ID)+"-2") {
		t.Errorf("Jobs %v", jobs)
	}
}

func TestAFinishedScanIsNotRunAgain(t *testing.T) {
	g := newRig(t, 1)
	store, err := results.Open(t.Context(), g.nc, results.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a := g.request("a", "1")
	if err := store.Put(t.Context(), finding.Result{ScanID: a.ID, Revision: 1, Verdict: finding.Clean}); err != nil {
		t.Fatal(err)
	}
	g.must(g.runner(), g.asked(a))
	if len(g.jobs())+len(g.out) != 0 {
		t.Errorf("Jobs %v, events %v", g.jobs(), g.out)
	}
}

// The correlator asks again while the runner still takes the scan for running.
func TestAnotherAttempt(t *testing.T) {
	g := newRig(t, 1)
	r, a := g.runner(), g.request("a", "1")
	again := g.asked(a)
	again.SetSource(event.Source("correlator"))
	again.SetID("again")
	g.must(r, g.asked(a), again, again)
	if diff := cmp.Diff(ids(a), g.jobs()); diff != "" {
		t.Fatal(diff)
	}
	g.must(r, g.ended(a, 1), g.ended(a, 1), again)
	if diff := cmp.Diff([]string{string(a.ID), string(a.ID) + "-2"}, g.jobs()); diff != "" {
		t.Error(diff)
	}
	g.must(r, g.ended(a, 1)) // of the first attempt, late
	if q := g.queue(); q[a.ID] != running {
		t.Errorf("the second attempt is %q", q[a.ID])
	}
	g.must(r, g.ended(a, 2))
	if q := g.queue(); len(q) != 0 {
		t.Errorf("still in the queue: %v", q)
	}
	if diff := cmp.Diff(ids(a, a), g.events(event.ScanStarted)); diff != "" {
		t.Error(diff)
	}
}

func TestANewerCommitTakesTheirPlace(t *testing.T) {
	g := newRig(t, 1)
	r := g.runner()
	at := func(min int) func(*scan.Request) {
		return func(q *scan.Request) { q.Pushed = g.clock.Add(time.Duration(min) * time.Minute) }
	}
	one, two, three := g.request("a@main", "c1", at(1)), g.request("a@main", "c2", at(2)), g.request("a@main", "c3", at(3))
	other, stale := g.request("a@feature", "c1", at(0)), g.request("a@main", "c0", at(0))
	g.must(r, g.asked(one), g.asked(other), g.asked(two), g.asked(three), g.asked(stale))
	if diff := cmp.Diff([]string{"superseded by c2", "superseded by c3", "superseded by c3"}, g.reasons()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ids(one, two, stale), func() []string { // two had got the slot of one, and lost it
		return g.events(event.ScanRejected)
	}()); diff != "" {
		t.Error(diff)
	}
	if jobs := g.jobs(); len(jobs) != 1 || jobs[0] == string(one.ID) {
		t.Errorf("Jobs %v", jobs)
	}
	if run, err := g.deps.Runs.Get(t.Context(), one.ID); err != nil || run.GivenUp != "superseded by c2" {
		t.Errorf("record %+v, %v", run, err)
	}
	for _, e := range g.out { // what the runner says itself frees nothing
		g.must(r, e)
	}
	g.must(r, g.ended(other, 1), g.ended(three, 1))
	if q := g.queue(); len(q) != 0 {
		t.Errorf("still in the queue: %v", q)
	}
}

func TestWhatCanNeverRun(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*scan.Request)
		says  string
	}{
		"another lockfile":   {func(q *scan.Request) { q.Digest = "sha256:" + strings.Repeat("0", 64) }, "has digest"},
		"no source":          {func(q *scan.Request) { q.Source.Object = "gone" }, "no archive"},
		"no such root":       {func(q *scan.Request) { q.Root = "web" }, "web"},
		"another manager":    {func(q *scan.Request) { q.Manager = "cargo" }, "not supported"},
		"a root outside":     {func(q *scan.Request) { q.Root = "../x" }, "not a path inside"},
		"an odd priority":    {func(q *scan.Request) { q.Priority = 9 }, "priority"},
		"an endless timeout": {func(q *scan.Request) { q.TimeoutSeconds = 1 << 30 }, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, 1)
			e := g.asked(g.request("a", "1", c.spoil))
			g.must(g.runner(), e, e)
			reasons := g.reasons()
			if len(reasons) != 1 || !strings.Contains(reasons[0], c.says) || len(g.jobs()) != 0 || len(g.queue()) != 0 {
				t.Errorf("reasons %q, Jobs %v, queue %v", reasons, g.jobs(), g.queue())
			}
		})
	}
	g := newRig(t, 1)
	for _, data := range []string{"{", "[]", `{"scan_id":"x"}`, `{"scan_id":7}`} {
		e := eventtest.Event(event.ScanRequested, "e"+data)
		_ = e.SetData("application/json", []byte(data))
		g.must(g.runner(), e)
	}
	if n := len(g.reasons()); n != 4 {
		t.Errorf("%d rejections", n)
	}
}

// refuse makes the API server refuse to create Jobs.
func (g *rig) refuse(err *error) {
	g.set.PrependReactor("create", "jobs", func(ktesting.Action) (bool, runtime.Object, error) { return *err != nil, nil, *err })
}

func TestAFullClusterMakesScansWait(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for name, cause := range map[string]error{
		"quota": apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota")), "down": errors.New("connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, 2)
			err := cause
			g.refuse(&err)
			r, a, b := g.runner(), g.request("a", "1"), g.request("b", "1")
			g.must(r, g.asked(a), g.asked(b), g.ping())
			if q := g.queue(); q[a.ID] != waiting || q[b.ID] != waiting || len(g.out) != 0 || !r.blocked.Load() {
				t.Errorf("queue %v, events %v", q, g.out)
			}
			err = nil
			g.must(r, g.ping())
			if diff := cmp.Diff(ids(a, b), g.events(event.ScanStarted)); diff != "" || r.blocked.Load() {
				t.Error(diff)
			}
		})
	}
}

func TestAJobThatTheServerNeverTakes(t *testing.T) {
	g := newRig(t, 1)
	var err error = apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "x", nil)
	g.refuse(&err)
	g.must(g.runner(), g.asked(g.request("a", "1")))
	if reasons := g.reasons(); len(reasons) != 1 || !strings.Contains(reasons[0], "invalid") || len(g.queue()) != 0 {
		t.Errorf("reasons %q, queue %v", reasons, g.queue())
	}
}

func TestARegistryThatIsNotFoundMakesScansWait(t *testing.T) {
	g := newRig(t, 1)
	var down error = fault.Errorf(fault.Transient, "no such host")
	ask := g.deps.Registry
	g.deps.Registry = func(ctx context.Context) (string, error) {
		if down != nil {
			return "", down
		}
		return ask(ctx)
	}
	r, a := g.runner(), g.request("a", "1")
	g.must(r, g.asked(a))
	if q := g.queue(); q[a.ID] != waiting {
		t.Errorf("queue %v", q)
	}
	down = nil
	g.must(r, g.ping())
	if q := g.queue(); q[a.ID] != running {
		t.Errorf("queue %v", q)
	}
}

func TestSweep(t *testing.T) {
	g := newRig(t, 2)
	r, lost, live, next := g.runner(), g.request("lost", "1"), g.request("live", "1"), g.request("next", "1")
	g.must(r, g.asked(lost), g.asked(live), g.asked(next))
	if err := g.deps.Cluster.Delete(t.Context(), lost.ID, 1); err != nil {
		t.Fatal(err)
	}
	g.must(r, g.ping())
	if q := g.queue(); q[next.ID] != waiting {
		t.Errorf("a slot is taken back although the end may yet be told: %v", q)
	}
	g.pass(kubernetes.Deadline(lost) + Overdue)
	g.must(r, g.ping())
	if q := g.queue(); len(q) != 2 || q[live.ID] != running || q[next.ID] != running {
		t.Errorf("queue %v", q)
	}
	orphan := g.request("orphan", "1")
	if err := g.deps.Cluster.Create(t.Context(), r.spec(entry{ID: orphan.ID, Attempt: 1, Since: g.now()}, record{Request: orphan}, "http://192.0.2.7")); err != nil {
		t.Fatal(err)
	}
	g.must(r, g.ping())
	if jobs := g.jobs(); len(jobs) != 2 || slices.Contains(jobs, string(orphan.ID)) {
		t.Errorf("Jobs %v", jobs)
	}
}

func TestEventsThatOnlyWake(t *testing.T) {
	g := newRig(t, 1)
	for _, typ := range []string{event.RepoPush, event.ResourceAdded, event.ScanStarted, "com.example.other"} {
		reply, err := g.runner().Handle(t.Context(), eventtest.Event(typ, "w"))
		if reply != nil || err != nil {
			t.Errorf("%s: %v, %v", typ, reply, err)
		}
	}
	if runner.Name != "runner" {
		t.Error("its Knative Service has another name")
	}
}

func TestAQueueThatIsFull(t *testing.T) {
	g := newRig(t, 1)
	_, err := g.deps.Queue.change(t.Context(), func(s *state) (bool, error) {
		for range MaxWaiting + 1 {
			s.add(entry{ID: "x", Attempt: 1}, "")
		}
		s.Entries[0].Phase, s.Entries[0].Since = claimed, g.clock
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.deliver(g.runner(), g.asked(g.request("a", "1"))); err == nil || !fault.Retryable(err) {
		t.Errorf("%v, want a transient error", err)
	}
}

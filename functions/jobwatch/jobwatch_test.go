package jobwatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// job makes a Job, with a terminal condition if typ is one.
func (r *rig) job(id scan.ID, attempt int, typ batchv1.JobConditionType, reason string) *batchv1.Job {
	j := &batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}}
	j.Name, j.Namespace, j.UID = kubernetes.JobName(id, attempt), namespace, "5d3e3d0c-0000-4000-8000-000000000000"
	j.CreationTimestamp = metav1.NewTime(r.now)
	if typ != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: typ, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(r.now.Add(time.Minute))}}
	}
	r.cluster.jobs[j.Name] = j
	return j
}

// ended adds the pod of a Job whose installer ended.
func (r *rig) ended(j *batchv1.Job, code int32) {
	p := corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{
		{Name: kubernetes.InstallName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(r.now.Add(time.Minute))}}}}}}
	if code != 0 {
		p.Status.Phase = corev1.PodFailed
	}
	p.Name = j.Name + "-x7x"
	r.cluster.pods = append(r.cluster.pods, p)
}

func TestEndIsToldOnce(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	j := r.job(id, 1, batchv1.JobComplete, "CompletionsReached")
	r.ended(j, 0)
	r.must(r.hear(event.ResourceUpdated, j))
	r.must(r.hear(event.ResourceUpdated, j))
	r.must(r.hear(event.ResourceDeleted, j)) // its time to live is over
	delete(r.cluster.jobs, j.Name)
	r.now = r.now.Add(24 * time.Hour)
	r.must(r.hear(event.Ping, map[string]string{}))
	sent := r.sent.Events()
	if len(sent) != 1 {
		t.Fatalf("%d events", len(sent))
	}
	e, x := sent[0], r.exits()[0]
	if e.ID() != event.ID(event.SandboxExited, string(id), "1") || e.Subject() != string(id) || e.Source() != "/falconer/jobwatch" ||
		event.Extension(e, event.ExtScanID) != string(id) || event.Extension(e, event.ExtTraceparent) != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
		t.Errorf("%v", e)
	}
	if x.Sandbox.Reason != "completed" || len(x.Incomplete) != 0 || len(x.Fetches) != 1 || x.Packages != 2 || len(x.InstallScripts) != 1 || x.Attempt != 1 || x.Request.ID != id {
		t.Errorf("%+v", x)
	}
}

// TestOnlyTheEndCounts hears a Job's whole life.
func TestOnlyTheEndCounts(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	j := r.job(id, 1, "", "")
	r.must(r.hear(event.ResourceAdded, j))
	j.Status.Active = 1
	r.must(r.hear(event.ResourceUpdated, j))
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded}}
	r.must(r.hear(event.ResourceUpdated, j))
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionFalse}}
	r.must(r.hear(event.ResourceUpdated, j))
	r.now = r.now.Add(NoPodAfter - time.Second)
	r.must(r.hear(event.Ping, map[string]string{}))
	if n := len(r.sent.Events()); n != 0 {
		t.Errorf("%d events before the end", n)
	}
	if n := r.cluster.calls["Pods"]; n != 0 {
		t.Errorf("the API server is asked %d times about a Job that runs", n)
	}
}

// TestReferences: the source may only refer to the Job.
func TestReferences(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	j := r.job(id, 1, batchv1.JobComplete, "")
	r.ended(j, 0)
	ref := corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: namespace, Name: j.Name}
	r.must(r.hear(event.RefUpdated, ref))
	if x := r.exits(); len(x) != 1 || x[0].Sandbox.Reason != "completed" {
		t.Errorf("%+v", x)
	}
	second := scan.Key{Project: "second"}.ID()
	r.run(second, 1, nil)
	ref.Name = kubernetes.JobName(second, 1)
	r.must(r.hear(event.RefDeleted, ref))
	third := scan.Key{Project: "third"}.ID()
	r.run(third, 1, nil)
	ref.Name = kubernetes.JobName(third, 1)
	r.must(r.hear(event.RefUpdated, ref)) // gone by the time it is asked for
	for _, x := range r.exits()[1:] {
		if x.Sandbox.Reason != "lost" || len(x.Incomplete) != 1 || !strings.Contains(x.Incomplete[0], "deleted before it ended") {
			t.Errorf("%+v", x)
		}
	}
	if n := len(r.exits()); n != 3 {
		t.Errorf("%d events", n)
	}
}

// TestDeletedAfterItsEnd: of all a Job's events only the last one arrived.
func TestDeletedAfterItsEnd(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	j := r.job(id, 1, batchv1.JobComplete, "")
	delete(r.cluster.jobs, j.Name)
	r.must(r.hear(event.ResourceDeleted, j))
	if x := r.exits(); len(x) != 1 || x[0].Sandbox.Reason != "completed" {
		t.Errorf("%+v", x)
	}
}

// TestNobodyWaits: attempts that are over for the runner are for jobwatch too.
func TestNobodyWaits(t *testing.T) {
	for name, prepare := range map[string]func(r *rig){
		"no record":      func(*rig) {},
		"a later one":    func(r *rig) { r.run(id, 2, nil) },
		"given up":       func(r *rig) { r.run(id, 1, func(run *runs.Run) { run.GivenUp = "a newer commit" }) },
		"somebody's Job": func(r *rig) { r.run(id, 3, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			prepare(r)
			j := r.job(id, 1, batchv1.JobComplete, "")
			r.must(r.hear(event.ResourceUpdated, j))
			r.must(r.hear(event.ResourceDeleted, r.job(id, 1, "", "")))
			r.must(r.hear(event.Ping, map[string]string{}))
			if n := len(r.sent.Events()); n != 0 {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestWhatIsNoJobOfOurs(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	good := r.job(id, 1, batchv1.JobComplete, "")
	change := func(f func(*batchv1.Job)) *batchv1.Job {
		j := good.DeepCopy()
		f(j)
		return j
	}
	for name, c := range map[string]struct {
		typ  string
		data any
	}{
		"elsewhere":       {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Namespace = "default" })},
		"another name":    {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Name = "backup" })},
		"no scan":         {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Name = "falconer-scan-" + strings.Repeat("x", 36) })},
		"no attempt":      {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Name += "-one" })},
		"attempt one":     {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Name += "-1" })},
		"a pod":           {event.ResourceUpdated, change(func(j *batchv1.Job) { j.Kind, j.APIVersion = "Pod", "v1" })},
		"another type":    {event.ScanStarted, good},
		"reference to it": {event.RefAdded, corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Name: good.Name, Namespace: namespace}},
	} {
		t.Run(name, func(t *testing.T) {
			r.must(r.hear(c.typ, c.data))
			if n := len(r.sent.Events()); n != 0 {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestMalformedEvents(t *testing.T) {
	r := newRig(t)
	for name, data := range map[string]string{
		"not JSON": "{", "a list": "[]", "no name": `{"kind":"Job","apiVersion":"batch/v1"}`,
		"a wrong type": `{"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"a","namespace":"b"},"status":{"conditions":7}}`,
	} {
		e := ce.New()
		e.SetID("1")
		e.SetType(event.ResourceUpdated)
		e.SetSource("/test")
		e.DataEncoded = []byte(data)
		if _, err := r.watch.Handle(t.Context(), e); err == nil || fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTriedAgain: whatever fails, the event comes again, and the end is told
// then, once in effect.
func TestTriedAgain(t *testing.T) {
	for _, method := range []string{"Pods", "Log", "Events", "emit", "fetches", "mark"} {
		t.Run(method, func(t *testing.T) {
			r := newRig(t)
			r.run(id, 1, nil)
			j := r.job(id, 1, batchv1.JobComplete, "")
			if method != "Events" { // which are asked for only where there is no pod
				r.ended(j, 0)
			}
			r.cluster.broken[method] = 1
			marks := r.watch.d.Marks
			switch method {
			case "emit":
				r.emitErr = errAway
			case "fetches":
				r.shop.err = errAway
			case "mark":
				r.watch.d.Marks = unmarked{r.marks}
			}
			if err := r.hear(event.ResourceUpdated, j); !fault.Retryable(err) {
				t.Errorf("%v", err)
			}
			r.emitErr, r.shop.err, r.watch.d.Marks = nil, nil, marks
			r.must(r.hear(event.ResourceUpdated, j))
			ids := slices.Compact(r.sent.IDs())
			if len(ids) != 1 {
				t.Errorf("events %v", ids)
			}
			if x := r.exits(); x[0].Sandbox.Reason != "completed" {
				t.Errorf("%+v", x[0])
			}
		})
	}
}

// unmarked can't be written to.
type unmarked struct{ *JetStreamMarks }

func (unmarked) Put(_ context.Context, _ scan.ID, _ int, _ Told) error { return errAway }

func TestRegistryServiceStaysAway(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		after time.Duration
		told  bool
	}{
		"a while":         {errAway, NoFetchesAfter / 2, false},
		"for long":        {errAway, NoFetchesAfter + 2*time.Minute, true},
		"it won't answer": {fault.Errorf(fault.Permanent, "refused"), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.run(id, 1, nil)
			j := r.job(id, 1, batchv1.JobComplete, "")
			r.ended(j, 0)
			r.shop.err, r.now = c.err, r.now.Add(c.after)
			err := r.hear(event.ResourceUpdated, j)
			if fault.Retryable(err) == c.told {
				t.Errorf("%v", err)
			}
			x := r.exits()
			if len(x) > 0 != c.told {
				t.Fatalf("%+v", x)
			}
			if c.told && (len(x[0].Incomplete) != 1 || !strings.Contains(x[0].Incomplete[0], "is not known")) {
				t.Errorf("%q", x[0].Incomplete)
			}
		})
	}
}

func TestSweepFindsWhatNoEventToldOf(t *testing.T) {
	r := newRig(t)
	ids := map[string]scan.ID{}
	for _, name := range []string{"ended", "gone", "young", "running", "broken", "given up", "told"} {
		ids[name] = scan.Key{Project: name}.ID()
		r.run(ids[name], 1, func(run *runs.Run) {
			if name == "given up" {
				run.GivenUp = "a newer commit"
			}
		})
	}
	r.ended(r.job(ids["ended"], 1, batchv1.JobComplete, ""), 0)
	r.ended(r.job(ids["broken"], 1, batchv1.JobFailed, "BackoffLimitExceeded"), 3)
	r.must(r.marks.Put(t.Context(), ids["told"], 1, Told{}))
	running := r.job(ids["running"], 1, "", "")
	running.Status.Active = 1
	r.cluster.pods = append(r.cluster.pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: running.Name + "-x"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
	r.now = r.now.Add(NoJobAfter + time.Minute)
	r.run(ids["young"], 1, nil) // its Job is about to be made
	r.must(r.hear(event.Ping, map[string]string{}))
	got := map[scan.ID]string{}
	for _, x := range r.exits() {
		got[x.Request.ID] = x.Sandbox.Reason + ": " + x.Sandbox.Detail
	}
	want := map[scan.ID]string{
		ids["ended"]: "completed: ", ids["broken"]: "failed: the installer ended with exit code 3",
		ids["gone"]: "lost: the Job is gone, and nobody saw it end",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if len(r.cluster.deleted) != 0 {
		t.Errorf("deleted: %v", r.cluster.deleted)
	}
}

// TestOneBrokenScanDoesNotKeepOthers from their ends.
func TestOneBrokenScanDoesNotKeepOthers(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		sid := scan.Key{Project: fmt.Sprint(i)}.ID()
		r.run(sid, 1, nil)
		r.ended(r.job(sid, 1, batchv1.JobComplete, ""), 0)
	}
	r.cluster.broken["Pods"] = 1
	if err := r.hear(event.Ping, map[string]string{}); !errors.Is(err, errAway) {
		t.Errorf("%v", err)
	}
	if n := len(r.exits()); n != 2 {
		t.Errorf("%d of the two others", n)
	}
	r.must(r.hear(event.Ping, map[string]string{}))
	if n := len(r.exits()); n != 3 {
		t.Errorf("%d of three in the end", n)
	}
}

// TestWithoutAPod: nothing refuses it, it just does not come.
func TestWithoutAPod(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	j := r.job(id, 1, "", "")
	r.now = r.now.Add(NoPodAfter)
	r.cluster.broken["Delete"] = 1
	if err := r.hear(event.Ping, map[string]string{}); !fault.Retryable(err) {
		t.Errorf("a Job that could not be removed: %v", err)
	}
	r.must(r.hear(event.Ping, map[string]string{}))
	x := r.exits()[0]
	if x.Sandbox.Reason != "lost" || !strings.Contains(x.Sandbox.Detail, "no pod after 60 s") || !slices.Equal(r.cluster.deleted, []string{j.Name}) {
		t.Errorf("%+v, deleted %v", x.Sandbox, r.cluster.deleted)
	}
	r.must(r.hear(event.ResourceDeleted, j)) // its removal
	if ids := slices.Compact(r.sent.IDs()); len(ids) != 1 {
		t.Errorf("%v", ids)
	}
}

func TestLargeEndsFit(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	r.shop.log = fetches.Log{Unlisted: 5}
	for i := range fetches.MaxFetches {
		r.shop.log.Fetches = append(r.shop.log.Fetches, finding.Fetch{Name: fmt.Sprintf("package-%d", i), Version: "1.0.0", Integrity: "sha512-" + strings.Repeat("A", 88), Size: 1})
	}
	r.cluster.log = strings.Repeat(strings.Repeat("x", 5000)+"\n", 1000) // more than is read
	j := r.job(id, 1, batchv1.JobComplete, "")
	r.ended(j, 0)
	r.must(r.hear(event.ResourceUpdated, j))
	x := r.exits()[0]
	b, err := json.Marshal(x)
	r.must(err)
	if len(b) > maxExited+1024 {
		t.Errorf("%d bytes", len(b))
	}
	if len(x.Fetches) < 5000 || len(x.Log) > 20<<10 || x.OutputBytes > LogBytes {
		t.Errorf("%d fetches, %d bytes of log of %d", len(x.Fetches), len(x.Log), x.OutputBytes)
	}
	want := fmt.Sprintf("%d fetches from the registry are not listed", fetches.MaxFetches+5-len(x.Fetches))
	if len(x.Incomplete) != 1 || !strings.HasPrefix(x.Incomplete[0], want) {
		t.Errorf("%q, want %q", x.Incomplete, want)
	}
}

func TestProblemsOfTheRunAreIncomplete(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, func(run *runs.Run) { run.Problems = []string{"the lockfile disagrees"} })
	r.shop.log.Problems = []string{"a@1.0.0: not the pinned content"}
	j := r.job(id, 1, batchv1.JobComplete, "")
	r.ended(j, 0)
	r.must(r.hear(event.ResourceUpdated, j))
	if x := r.exits()[0]; !slices.Equal(x.Incomplete, []string{"the lockfile disagrees", "a@1.0.0: not the pinned content"}) {
		t.Errorf("%q", x.Incomplete)
	}
}

func FuzzDecode(f *testing.F) {
	j, err := json.Marshal(batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(j), `{"kind":"Job","apiVersion":"batch/v1","name":"a","namespace":"b"}`, `null`, `{"kind":"Job","status":{"conditions":[{}]}}`} {
		f.Add(s, 0)
		f.Add(s, 3)
	}
	types := []string{event.ResourceAdded, event.ResourceUpdated, event.ResourceDeleted, event.RefAdded, event.RefUpdated, event.RefDeleted, event.Ping}
	f.Fuzz(func(t *testing.T, data string, typ int) {
		e := ce.New()
		e.SetID("1")
		e.SetType(types[(typ%len(types)+len(types))%len(types)])
		e.SetSource("/test")
		e.DataEncoded = []byte(data)
		n, err := decode(e)
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v", err)
		}
		if err != nil || n == nil {
			return
		}
		if n.name == "" || n.namespace == "" {
			t.Errorf("%+v", n)
		}
		if n.job != nil && condition(n.job) != nil {
			diagnose(n.job, sight{})
		}
		if id, attempt, ok := parseName(n.name); ok && kubernetes.JobName(id, attempt) != n.name {
			t.Errorf("%q is read as %s, %d", n.name, id, attempt)
		}
	})
}

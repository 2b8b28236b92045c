package jobwatch

import (
	"bytes"
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/runs"
)

var update = flag.Bool("update", false, "rewrite the events in testdata/*.txtar")

// TestCases lets each testdata/*.txtar happen: objects of a real cluster, as
// they were when the Job ended (or at a sweep), and compares what is emitted
// with what stands in "exited".
//
// The comment says: notice, the last part of the event's type, or ping; age, how
// old the Job is at a ping; sensor, who watches.
func TestCases(t *testing.T) { eventtest.Golden(t, *update, happen) }

// settings reads the comment of a case.
func settings(comment []byte) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(string(comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		m[key] = strings.TrimSpace(value)
	}
	return m
}

func happen(t *testing.T, a *txtar.Archive) []byte {
	t.Helper()
	r, s := newRig(t), settings(a.Comment)
	var job batchv1.Job
	for _, f := range a.Files {
		into := map[string]any{"job.yaml": &job, "pods.yaml": &r.cluster.pods, "events.yaml": &r.cluster.events}[f.Name]
		if into != nil {
			r.must(yaml.UnmarshalStrict(f.Data, into))
		}
		if f.Name == "log" {
			r.cluster.log = string(f.Data)
		}
	}
	r.now = job.CreationTimestamp.Time
	r.run(id, 1, func(run *runs.Run) { run.Sensor = s["sensor"] })
	r.cluster.jobs[job.Name] = &job
	if s["notice"] == "ping" {
		age, err := time.ParseDuration(s["age"])
		r.must(err)
		r.now = r.now.Add(age)
		r.must(r.hear(event.Ping, map[string]string{}))
	} else {
		r.now = r.now.Add(time.Minute)
		r.must(r.hear("dev.knative.apiserver.resource."+s["notice"], &job))
	}
	var out bytes.Buffer
	for _, x := range r.exits() {
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		r.must(enc.Encode(map[string]any{"at": x.At, "sandbox": x.Sandbox, "incomplete": x.Incomplete, "log": x.Log, "output_bytes": x.OutputBytes,
			"packages": x.Packages, "fetches": len(x.Fetches), "removed": len(r.cluster.deleted)}))
		for _, pod := range r.cluster.pods {
			for _, c := range append(pod.Status.ContainerStatuses, corev1.ContainerStatus{}) {
				if m := c.State.Terminated; m != nil && m.Message != "" && strings.Contains(out.String(), m.Message) {
					t.Errorf("the sandbox's own message is repeated: %s", m.Message)
				}
			}
		}
	}
	return out.Bytes()
}

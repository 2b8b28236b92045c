//go:build cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

// installing waits until a scan's install runs, in its attempt of that number.
func (r *rig) installing(id scan.ID, attempt string) {
	r.Helper()
	r.eventually(2*time.Minute, "attempt "+attempt+" of scan "+string(id), func() bool {
		for _, p := range r.pods(sandboxes, scanLabel+"="+string(id)+",falconer.dev/attempt="+attempt) {
			running := func(c corev1.ContainerStatus) bool { return c.State.Running != nil }
			if slices.ContainsFunc(p.Status.ContainerStatuses, running) {
				return true
			}
		}
		return false
	})
}

// TestSensorDies kills the sensor while it watches a scan: what it can't have
// seen is said, and the scan is run once more.
func TestSensorDies(t *testing.T) {
	r := open(t)
	id, _ := r.push(world.Push{Project: "acme/unseen-" + run, Case: "slow"})
	r.installing(id, "1")
	now := int64(0)
	for _, p := range r.pods(sensors, "app.kubernetes.io/name=sensor") {
		if err := r.k8s.CoreV1().Pods(sensors).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
	}
	r.result(id, 4*time.Minute)
	first := r.results(id)[0]
	if first.Verdict != "inconclusive" || !slices.ContainsFunc(first.Incomplete, func(s string) bool { return strings.Contains(s, "sensor") }) {
		t.Errorf("the verdict on a scan whose sensor died is %s %q", first.Verdict, first.Incomplete)
	}
	r.eventually(4*time.Minute, "a better result", func() bool {
		list := r.results(id)
		return list[len(list)-1].Verdict == "clean"
	})
	jobs, err := r.k8s.BatchV1().Jobs(sandboxes).List(t.Context(), metav1.ListOptions{LabelSelector: scanLabel + "=" + string(id)})
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs.Items) != 2 {
		t.Errorf("the scan was run %d times, want 2", len(jobs.Items))
	}
}

// TestNewerPushSupersedes pushes twice: the scan of the first commit is ended
// and says why.
func TestNewerPushSupersedes(t *testing.T) {
	r := open(t)
	p := world.Push{Project: "acme/hasty-" + run, Case: "slow", Commit: fmt.Sprintf("%040s", "01"+run)}
	first, _ := r.push(p)
	r.installing(first, "1")
	p.Commit = fmt.Sprintf("%040s", "02"+run)
	second, _ := r.push(p)
	var why event.Rejected
	r.eventually(time.Minute, "the first scan's end", func() bool {
		var events []ce.Event
		r.call("GET", "/reports?subject="+string(first), nil, &events)
		for _, e := range events {
			if e.Type() == event.ScanRejected {
				if err := json.Unmarshal(e.Data(), &why); err != nil {
					t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
	if !strings.Contains(why.Reason, p.Commit) {
		t.Errorf("the first scan was ended for %q, want the newer commit named", why.Reason)
	}
	if result := r.result(second, 4*time.Minute); result.Verdict != "clean" {
		t.Errorf("the second scan is %s %q", result.Verdict, result.Incomplete)
	}
	r.eventually(time.Minute, "the first Job's removal", func() bool { return len(r.pods(sandboxes, scanLabel+"="+string(first))) == 0 })
}

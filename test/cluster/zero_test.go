//go:build cluster

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serviceLabel is what Knative puts on a service's deployments and pods.
const serviceLabel = "serving.knative.dev/service"

// running lists the functions that are meant to be at zero and are not, with
// their replicas.
func (r *rig) running() []string {
	var out []string
	list, err := r.k8s.AppsV1().Deployments(system).List(r.Context(), metav1.ListOptions{LabelSelector: serviceLabel})
	if err != nil {
		return []string{err.Error()}
	}
	for _, d := range list.Items {
		name := d.Labels[serviceLabel]
		if functions[name] && (d.Spec.Replicas == nil || *d.Spec.Replicas > 0 || d.Status.ReadyReplicas > 0) {
			out = append(out, fmt.Sprintf("%s (%d ready)", name, d.Status.ReadyReplicas))
		}
	}
	slices.Sort(out)
	return out
}

// zero waits until nothing runs but what always does.
func (r *rig) zero() {
	r.Helper()
	var up []string
	end := time.Now().Add(4 * time.Minute)
	for up = r.running(); len(up) > 0; up = r.running() {
		if time.Now().After(end) {
			r.Fatalf("still running after 4 minutes without work: %s", strings.Join(up, ", "))
		}
		time.Sleep(500 * time.Millisecond)
	}
}

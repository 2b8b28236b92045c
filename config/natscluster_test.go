package config_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// containers are those of a workload.
func containers(o object) []corev1.Container {
	switch o := o.Object.(type) {
	case *servingv1.Service:
		return o.Spec.Template.Spec.Containers
	case *appsv1.Deployment:
		return o.Spec.Template.Spec.Containers
	case *appsv1.DaemonSet:
		return o.Spec.Template.Spec.Containers
	}
	return nil
}

// TestClientsOfTheNATSCluster: whoever talks to NATS in the overlay nats checks
// whom it talks to, and keeps its streams three times.
func TestClientsOfTheNATSCluster(t *testing.T) {
	all, err := decode(render(t, "nats"))
	if err != nil {
		t.Fatal(err)
	}
	clients := 0
	for _, o := range all {
		for _, c := range containers(o) {
			set := map[string]string{}
			for _, e := range c.Env {
				set[e.Name] = e.Value
			}
			if set["NATS_URL"] == "" {
				continue
			}
			clients++
			if set["NATS_CA_FILE"] == "" || set["FALCONER_NATS_REPLICAS"] != "3" {
				t.Errorf("%s: NATS_CA_FILE=%q FALCONER_NATS_REPLICAS=%q", c.Name, set["NATS_CA_FILE"], set["FALCONER_NATS_REPLICAS"])
			}
		}
	}
	if clients != 11 {
		t.Errorf("%d clients, not 11", clients)
	}
}

//go:build cluster

package cluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/test/cluster/world"
)

// target is a place that the probe tries to connect to.
type target struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port int    `json:"port"`
}

// TestNothingLeavesTheSandbox runs a package that tries every way out, from
// inside a scan's pod.
func TestNothingLeavesTheSandbox(t *testing.T) {
	r := open(t)
	// Another scan's pod, to reach for: one that takes its time.
	neighbour, _ := r.push(world.Push{Project: "acme/neighbour-" + run, Case: "hang"})
	r.job(neighbour, time.Minute)
	var address string
	r.eventually(time.Minute, "the neighbour's address", func() bool {
		for _, p := range r.pods(sandboxes, scanLabel+"="+string(neighbour)) {
			address = p.Status.PodIP
		}
		return address != ""
	})
	connect := []target{{"metadata", "169.254.169.254", 80}, {"neighbour", address, 4873}}
	for _, s := range []struct {
		name, namespace, service string
		port                     int
	}{
		{"api-server", "default", "kubernetes", 443}, {"broker", eventing, "broker-ingress", 80},
		{"nats", system, "nats", 4222}, {"name-server", "kube-system", "kube-dns", 53}, {"world", outside, "world", 8080},
	} {
		ip, err := r.k8s.CoreV1().Services(s.namespace).Get(t.Context(), s.service, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		connect = append(connect, target{s.name, ip.Spec.ClusterIP, s.port})
	}
	for _, p := range r.pods(system, "app.kubernetes.io/name=nats") {
		connect = append(connect, target{"nats-pod", p.Status.PodIP, 4222})
	}
	connect = append(connect, target{"registry", r.registryIP(), 4873})
	targets, err := json.Marshal(map[string]any{
		"absent":   []string{"/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/token", "/etc/falconer", "/run/trace"},
		"readonly": []string{"/", "/etc", "/usr", "/usr/bin", "/var", "/opt", "/root", "/run"},
		"unset":    []string{"NATS_URL", "NATS_PASSWORD", "K_SINK", "FALCONER_TICKET", "FALCONER_SOURCE_URL", "FALCONER_FALCO_TOKEN"},
		"connect":  connect,
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := r.push(world.Push{Project: "acme/probe-" + run, Case: "probe", Files: map[string]string{"probe-targets.json": string(targets)}})
	result := r.result(id, 5*time.Minute)
	got := map[string]string{}
	for line := range strings.Lines(result.Log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "PROBE" {
			got[f[1]] = f[2]
		}
	}
	want := map[string]string{"uid": "65532", "connect:registry": "open"}
	for _, c := range connect {
		if c.Name != "registry" {
			want["connect:"+c.Name] = "silence"
		}
	}
	for _, name := range []string{"/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/token", "/etc/falconer", "/run/trace"} {
		want["file:"+name] = "absent"
	}
	for _, name := range []string{"/", "/etc", "/usr", "/usr/bin", "/var", "/opt", "/root", "/run"} {
		want["write:"+name] = "refused"
	}
	for _, name := range []string{"NATS_URL", "NATS_PASSWORD", "K_SINK", "FALCONER_TICKET", "FALCONER_SOURCE_URL", "FALCONER_FALCO_TOKEN"} {
		want["env:"+name] = "unset"
	}
	for name, w := range want {
		closed := w == "silence" && (got[name] == "refused" || got[name] == "unreachable") // a wall may also answer
		if got[name] != w && !closed {
			t.Errorf("%s: %q, want %s", name, got[name], w)
		}
	}
	if t.Failed() {
		t.Logf("verdict %s %q\n%s", result.Verdict, result.Incomplete, result.Log)
	}
}

// registryIP is the address of the registry service, the one way out there is.
func (r *rig) registryIP() string {
	r.Helper()
	s, err := r.k8s.CoreV1().Services(system).Get(r.Context(), "registry", metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return s.Spec.ClusterIP
}

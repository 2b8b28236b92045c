//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Where things are, as config/ and test/cluster/config have it.
const (
	system    = "falconer"
	sandboxes = "falconer-sandbox"
	sensors   = "falconer-sensor"
	outside   = "falconer-e2e"
	eventing  = "knative-eventing"
)

// functions are the Knative Services, and whether each goes to zero.
var functions = map[string]bool{
	"gitlabhook": true, "planner": true, "runner": true, "jobwatch": true, "correlator": true,
	"reporter": true, "deadletter": true, "api": true, "falcogate": false,
}

// rig is a cluster and the world around Falconer in it.
type rig struct {
	testing.TB
	k8s   kubernetes.Interface
	rest  *rest.Config
	world string // base address of the world's control API
	jobs  *sightings
}

// open connects to the cluster, and to the world's control API through a port
// forward that lasts as long as the test.
func open(t testing.TB) *rig {
	t.Helper()
	file := os.Getenv("KUBECONFIG")
	if file == "" {
		t.Fatal("KUBECONFIG is not set: these tests need a cluster")
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, k8s: client, rest: config}
	r.jobs = r.watchJobs()
	r.world = "http://" + r.forward(outside, "app.kubernetes.io/name=world", 8080)
	return r
}

// forward makes a port of the first ready pod with these labels reachable and
// returns its address.
func (r *rig) forward(namespace, labels string, port int) string {
	r.Helper()
	var pod string
	r.eventually(time.Minute, "a ready pod "+labels, func() bool {
		for _, p := range r.pods(namespace, labels) {
			if ready(p) {
				pod = p.Name
			}
		}
		return pod != ""
	})
	tripper, upgrader, err := spdy.RoundTripperFor(r.rest)
	if err != nil {
		r.Fatal(err)
	}
	url := r.k8s.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	stop, up := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, http.MethodPost, url), []string{fmt.Sprintf("0:%d", port)}, stop, up, io.Discard, os.Stderr)
	if err != nil {
		r.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- f.ForwardPorts() }()
	select {
	case <-up:
	case err := <-failed:
		r.Fatalf("forward to %s/%s: %v", namespace, pod, err)
	case <-time.After(30 * time.Second):
		r.Fatalf("forward to %s/%s takes more than half a minute", namespace, pod)
	}
	r.Cleanup(func() { close(stop) })
	ports, err := f.GetPorts()
	if err != nil {
		r.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// pods lists the pods with these labels.
func (r *rig) pods(namespace, labels string) []corev1.Pod {
	r.Helper()
	var list *corev1.PodList
	r.eventually(time.Minute, "the API server's answer", func() (ok bool) {
		var err error
		list, err = r.k8s.CoreV1().Pods(namespace).List(r.Context(), metav1.ListOptions{LabelSelector: labels})
		return err == nil
	})
	return list.Items
}

func ready(p corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// call asks the world for something.
func (r *rig) call(method, path string, in, out any) {
	r.Helper()
	if err := r.try(r.Context(), method, path, in, out); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) try(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.world+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("world: %s %s: %d %s", method, path, resp.StatusCode, strings.TrimSpace(string(b)))
	}
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	return err
}

// eventually waits until ok holds, and fails the test if it takes too long.
func (r *rig) eventually(limit time.Duration, what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("waited %s in vain for %s", limit, what)
		}
	}
}

package jobwatch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// server answers as an API server does, and keeps what it was asked.
type server struct {
	asked  []string
	status int // answered instead, if not 0
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	if r.URL.Query().Get("timeout") != requestTimeout.String() {
		panic("a request without a timeout: " + r.URL.String())
	}
	address := strings.NewReplacer("?timeout=10s", "", "&timeout=10s", "").Replace(r.URL.String())
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+address+" "+string(body)))
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	if s.status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(s.status)
		answer(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(s.status),
			Reason: map[int]metav1.StatusReason{404: metav1.StatusReasonNotFound, 409: metav1.StatusReasonConflict, 400: metav1.StatusReasonBadRequest}[s.status]})
		return
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/log"):
		_, _ = io.WriteString(w, "a line\n")
	case strings.HasSuffix(r.URL.Path, "/jobs"):
		list := batchv1.JobList{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "JobList"}, Items: make([]batchv1.Job, 1)}
		if r.URL.Query().Get("continue") == "" {
			list.Continue = "more"
		}
		answer(list)
	case strings.Contains(r.URL.Path, "/jobs/"):
		answer(batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: "j"}})
	case strings.HasSuffix(r.URL.Path, "/pods"):
		answer(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: make([]corev1.Pod, 2)})
	case strings.HasSuffix(r.URL.Path, "/events"):
		answer(corev1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}, Items: make([]corev1.Event, 3)})
	}
}

func client(t *testing.T, s *server) *Client {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	c, err := NewClient(&rest.Config{Host: srv.URL}, "ns")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientAsksForWhatItMayHave(t *testing.T) {
	s := &server{}
	c := client(t, s)
	ctx := t.Context()
	if j, err := c.Job(ctx, "j"); err != nil || j.Name != "j" {
		t.Errorf("%v, %v", j, err)
	}
	if l, err := c.Jobs(ctx); err != nil || len(l) != 2 {
		t.Errorf("%d Jobs of two pages, %v", len(l), err)
	}
	if l, err := c.Pods(ctx, "j"); err != nil || len(l) != 2 {
		t.Errorf("%d pods, %v", len(l), err)
	}
	if l, err := c.Events(ctx, "Pod", "p"); err != nil || len(l) != 3 {
		t.Errorf("%d events, %v", len(l), err)
	}
	r, err := c.Log(ctx, "p", "install")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "a line\n" {
		t.Errorf("log %q, %v", b, err)
	}
	r.Close()
	if err := c.Delete(ctx, "j", "uid"); err != nil {
		t.Error(err)
	}
	want := []string{
		"GET /apis/batch/v1/namespaces/ns/jobs/j",
		"GET /apis/batch/v1/namespaces/ns/jobs?labelSelector=app.kubernetes.io%2Fname%3Dfalconer-scan&limit=200",
		"GET /apis/batch/v1/namespaces/ns/jobs?continue=more&labelSelector=app.kubernetes.io%2Fname%3Dfalconer-scan&limit=200",
		"GET /api/v1/namespaces/ns/pods?labelSelector=batch.kubernetes.io%2Fjob-name%3Dj&limit=200",
		"GET /api/v1/namespaces/ns/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Dp&limit=200",
		"GET /api/v1/namespaces/ns/pods/p/log?container=install&limitBytes=1048576&tailLines=500",
		`DELETE /apis/batch/v1/namespaces/ns/jobs/j {"kind":"DeleteOptions","apiVersion":"batch/v1","preconditions":{"uid":"uid"},"propagationPolicy":"Background"}`,
	}
	if d := cmp.Diff(want, s.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
}

func TestClientErrors(t *testing.T) {
	calls := map[string]func(context.Context, *Client) error{
		"Job":    func(ctx context.Context, c *Client) error { _, err := c.Job(ctx, "j"); return err },
		"Jobs":   func(ctx context.Context, c *Client) error { _, err := c.Jobs(ctx); return err },
		"Pods":   func(ctx context.Context, c *Client) error { _, err := c.Pods(ctx, "j"); return err },
		"Events": func(ctx context.Context, c *Client) error { _, err := c.Events(ctx, "Job", "j"); return err },
		"Log":    func(ctx context.Context, c *Client) error { _, err := c.Log(ctx, "p", "install"); return err },
		"Delete": func(ctx context.Context, c *Client) error { return c.Delete(ctx, "j", "uid") },
	}
	fine := map[int][]string{404: {"Log", "Delete"}, 400: {"Log"}, 409: {"Delete"}, 403: nil}
	for status, names := range fine {
		for name, call := range calls {
			err := call(t.Context(), client(t, &server{status: status}))
			switch {
			case name == "Job" && status == 404:
				if !errors.Is(err, ErrNoJob) {
					t.Errorf("%s, %d: %v", name, status, err)
				}
			case slices.Contains(names, name):
				if err != nil {
					t.Errorf("%s, %d: %v", name, status, err)
				}
			case !fault.Retryable(err):
				t.Errorf("%s, %d: %v, want a transient error", name, status, err)
			}
		}
	}
}

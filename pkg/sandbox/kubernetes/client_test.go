package kubernetes_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
)

// server answers as an API server does, for Jobs.
type server struct {
	mu    sync.Mutex
	jobs  map[string]*batchv1.Job
	calls []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Method+" "+r.URL.RequestURI())
	const base = "/apis/batch/v1/namespaces/falconer-sandbox/jobs"
	name := ""
	if len(r.URL.Path) > len(base) {
		name = r.URL.Path[len(base)+1:]
	}
	fail := func(code int, reason metav1.StatusReason) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason})
	}
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case r.Method == http.MethodPost:
		var j batchv1.Job
		raw, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(raw, &j); err != nil {
			fail(400, metav1.StatusReasonBadRequest)
			return
		}
		if s.jobs[j.Name] != nil {
			fail(409, metav1.StatusReasonAlreadyExists)
			return
		}
		s.jobs[j.Name] = &j
		answer(&j)
	case name == "":
		list := batchv1.JobList{TypeMeta: metav1.TypeMeta{Kind: "JobList", APIVersion: "batch/v1"}}
		for _, j := range s.jobs {
			list.Items = append(list.Items, *j)
		}
		answer(list)
	case s.jobs[name] == nil:
		fail(404, metav1.StatusReasonNotFound)
	case r.Method == http.MethodDelete:
		delete(s.jobs, name)
		answer(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Success"})
	default:
		answer(s.jobs[name])
	}
}

// The client's requests and answers are those of the API.
func TestClient(t *testing.T) {
	s := &server{jobs: map[string]*batchv1.Job{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	client, err := kubernetes.At(srv.URL, "falconer-sandbox")
	if err != nil {
		t.Fatal(err)
	}
	c := kubernetes.Cluster{Config: config(), Jobs: client}
	sp := spec(c.Config)
	for range 2 {
		if err := c.Create(t.Context(), sp); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.List(t.Context())
	if diff := cmp.Diff([]kubernetes.Listed{{ID: sp.Request.ID, Attempt: 1}}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for range 2 {
		if err := c.Delete(t.Context(), sp.Request.ID, 1); err != nil {
			t.Error(err)
		}
	}
	const base = "/apis/batch/v1/namespaces/falconer-sandbox/jobs"
	name := "/" + kubernetes.JobName(sp.Request.ID, 1)
	const limit = "timeout=10s"
	want := []string{"POST " + base + "?" + limit, "POST " + base + "?" + limit, "GET " + base + name + "?" + limit,
		"GET " + base + "?labelSelector=app.kubernetes.io%2Fname%3Dfalconer-scan&limit=500&" + limit,
		"DELETE " + base + name + "?" + limit, "DELETE " + base + name + "?" + limit}
	if diff := cmp.Diff(want, s.calls); diff != "" {
		t.Error(diff)
	}
}

package kubernetes_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
)

func cluster(t *testing.T, objects ...runtime.Object) (kubernetes.Cluster, *fake.Clientset) {
	t.Helper()
	set, c := fake.NewClientset(objects...), config()
	return kubernetes.Cluster{Config: c, Jobs: set.BatchV1().Jobs(c.Namespace)}, set
}

func TestCreatingTwiceCreatesOne(t *testing.T) {
	c, set := cluster(t)
	for range 3 {
		if err := c.Create(t.Context(), spec(c.Config)); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := set.BatchV1().Jobs(c.Config.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 1 {
		t.Errorf("%d Jobs, %v", len(jobs.Items), err)
	}
}

func TestAJobOfTheSameName(t *testing.T) {
	mine := config().Job(spec(config()))
	foreign, leaving := mine.DeepCopy(), mine.DeepCopy()
	foreign.Labels[kubernetes.LabelScan] = "another"
	leaving.DeletionTimestamp, leaving.Finalizers = new(metav1.Now()), []string{"example.com/wait"}
	c, _ := cluster(t, foreign)
	if err := c.Create(t.Context(), spec(c.Config)); fault.KindOf(err) != fault.Permanent || err == nil {
		t.Errorf("somebody else's: %v, want a permanent error", err)
	}
	c, _ = cluster(t, leaving)
	if err := c.Create(t.Context(), spec(c.Config)); !errors.Is(err, kubernetes.ErrGone) || !fault.Retryable(err) {
		t.Errorf("being deleted: %v, want ErrGone", err)
	}
}

func TestWhatTheServerSays(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for name, c := range map[string]struct {
		err  error
		kind fault.Kind
	}{
		"quota full":    {apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota: scans")), fault.Transient},
		"server down":   {errors.New("connection refused"), fault.Transient},
		"overload":      {apierrors.NewTooManyRequests("slow down", 1), fault.Transient},
		"internal":      {apierrors.NewInternalError(errors.New("etcd")), fault.Transient},
		"never taken":   {apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "x", nil), fault.Permanent},
		"too large":     {apierrors.NewRequestEntityTooLargeError("limit is 3145728"), fault.Permanent},
		"unprocessable": {&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusBadRequest, Reason: metav1.StatusReasonBadRequest}}, fault.Permanent},
	} {
		cl, set := cluster(t)
		set.PrependReactor("create", "jobs", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
		if err := cl.Create(t.Context(), spec(cl.Config)); err == nil || fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
}

func TestListAndDelete(t *testing.T) {
	s := spec(config())
	s2 := s
	s2.Attempt = 2
	running, done, foreign := config().Job(s), config().Job(s2), config().Job(s)
	done.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	foreign.Name = "something-else"
	c, _ := cluster(t, running, done, foreign)
	got, err := c.List(t.Context())
	want := []kubernetes.Listed{{ID: s.Request.ID, Attempt: 1}, {ID: s.Request.ID, Attempt: 2, Ended: true}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for range 2 {
		if err := c.Delete(t.Context(), s.Request.ID, 1); err != nil {
			t.Error(err)
		}
	}
	if got, err = c.List(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("after deleting: %v, %v", got, err)
	}
}

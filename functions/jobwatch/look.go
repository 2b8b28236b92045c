package jobwatch

import (
	"context"
	"io"
	"regexp"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
)

// sight is what can be seen of a Job beside the Job itself.
type sight struct {
	pod    *corev1.Pod    // the Job's only one, or its newest; nil if there is none any more
	job    []corev1.Event // about the Job
	events []corev1.Event // about the pod
}

// created is how the Job controller names a pod that it made.
var created = regexp.MustCompile(`^Created pod: ([a-z0-9.-]{1,253})$`)

// look gathers what says why a Job ended. A pod that a deadline ended is
// deleted at once: only events tell of it then.
func (w *Watch) look(ctx context.Context, job *batchv1.Job) (s sight, err error) {
	pods, err := w.d.Cluster.Pods(ctx, job.Name)
	if err != nil {
		return s, err
	}
	for i := range pods {
		if s.pod == nil || pods[i].CreationTimestamp.After(s.pod.CreationTimestamp.Time) {
			s.pod = &pods[i]
		}
	}
	if done(s.pod) {
		return s, nil // its own status says it all
	}
	if s.job, err = w.d.Cluster.Events(ctx, "Job", job.Name); err != nil {
		return s, err
	}
	name := ""
	if s.pod != nil {
		name = s.pod.Name
	}
	for _, e := range s.job {
		if m := created.FindStringSubmatch(e.Message); m != nil && e.Reason == "SuccessfulCreate" && strings.HasPrefix(m[1], job.Name+"-") {
			name = m[1]
		}
	}
	if name != "" {
		s.events, err = w.d.Cluster.Events(ctx, "Pod", name)
	}
	return s, err
}

// done reports whether a pod has ended.
func done(p *corev1.Pod) bool {
	return p != nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed)
}

// log reads the end of the installer's output.
func (w *Watch) log(ctx context.Context, pod *corev1.Pod) (*output.Output, error) {
	o := output.New(0, nil)
	if pod == nil || state(pod.Status.ContainerStatuses, kubernetes.InstallName) == nil {
		return o, nil
	}
	r, err := w.d.Cluster.Log(ctx, pod.Name, kubernetes.InstallName)
	if err != nil || r == nil {
		return o, err
	}
	defer r.Close()
	if _, err := io.Copy(o, io.LimitReader(r, LogBytes)); err != nil {
		return o, err // without a kind, so transient
	}
	return o, nil
}

package jobwatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes/stage"
)

// ending is how an attempt ended.
type ending struct {
	reason string    // finding.Sandbox.Reason
	code   int       // the installer's exit code, -1 if it has none
	detail string    // plain words, "" for a completed install
	at     time.Time // zero if nothing says when
	remove bool      // the Job would go on, so it has to be removed
}

// The reasons, as finding.Sandbox has them.
const (
	completed = "completed"
	failed    = "failed"
	timeout   = "timeout"
	killed    = "killed"
	lost      = "lost"
	limit     = "limit"
)

// maxText bounds what is taken over from Kubernetes' own messages, in bytes.
const maxText = 500

// text makes a message of Kubernetes' one printable line. Parts of it (an
// image's name, a registry's answer) come from elsewhere.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

func vanished() *ending {
	return &ending{reason: lost, code: -1, detail: "the Job was deleted before it ended"}
}

// condition returns the Job's terminal condition, nil if it has not ended.
func condition(j *batchv1.Job) *batchv1.JobCondition {
	for i, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// diagnose says how a Job with a terminal condition ended.
func diagnose(job *batchv1.Job, s sight) *ending {
	c := condition(job)
	e := &ending{code: -1, at: c.LastTransitionTime.Time}
	switch {
	case c.Type == batchv1.JobComplete:
		e.reason, e.code = completed, 0
	case c.Reason == batchv1.JobReasonDeadlineExceeded:
		e.deadline(job, s)
	case done(s.pod):
		e.pod(s.pod)
	default:
		e.reason = lost
		e.detail = "the pod is gone, and nothing says why"
		if t := text(c.Message); t != "" {
			e.detail += " but: " + t
		}
		if why := refused(s.job); why != "" {
			e.detail = why
		}
	}
	return e
}

// deadline says what the time went by with.
func (e *ending) deadline(job *batchv1.Job, s sight) {
	e.reason = timeout
	within := "its deadline"
	if d := job.Spec.ActiveDeadlineSeconds; d != nil {
		within = (time.Duration(*d) * time.Second).String()
	}
	why := waiting(s)
	switch {
	case why != "":
		e.reason, e.detail = lost, fmt.Sprintf("the install did not start within %s: %s", within, why)
	case happened(s.events, "Started", kubernetes.InstallName):
		e.detail = "the install did not end within " + within
	case happened(s.events, "Started", kubernetes.StageName):
		e.reason, e.detail = lost, "the project's source did not get into the sandbox within "+within
	default:
		e.detail = "the sandbox did not end within " + within
	}
}

// pod says how a pod that has ended did.
func (e *ending) pod(p *corev1.Pod) {
	e.reason = lost
	install, source := state(p.Status.ContainerStatuses, kubernetes.InstallName), state(p.Status.InitContainerStatuses, kubernetes.StageName)
	switch {
	case p.Status.Reason == "Evicted" || disrupted(p) == "TerminationByKubelet":
		e.reason, e.detail = limit, "the pod was evicted: "+cmp.Or(text(p.Status.Message), "the node was short of something")
	case p.Status.Reason != "":
		e.detail = fmt.Sprintf("the node ended the pod (%s): %s", text(p.Status.Reason), text(p.Status.Message))
	case source != nil && source.Terminated != nil && source.Terminated.ExitCode != 0:
		e.source(source.Terminated)
	case install != nil && install.Terminated != nil:
		e.install(install.Terminated)
	case disrupted(p) != "":
		e.detail = "the pod was disrupted: " + text(disrupted(p))
	default:
		e.detail = "the pod ended without a word on its containers"
	}
}

// install says how the container with the untrusted code ended. The message is
// that code's own and is left alone.
func (e *ending) install(t *corev1.ContainerStateTerminated) {
	e.code = int(t.ExitCode)
	if !t.FinishedAt.IsZero() {
		e.at = t.FinishedAt.Time
	}
	switch {
	case t.Reason == "OOMKilled":
		e.reason, e.detail = limit, fmt.Sprintf("the sandbox was out of memory (exit code %d)", t.ExitCode)
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		e.code, e.detail = -1, "the sandbox could not be started" // the runtime's words may hold paths of the image
	case t.Reason == "ContainerStatusUnknown":
		e.code, e.detail = -1, "the node does not know how the sandbox ended"
	case t.ExitCode == 128+9:
		e.reason, e.detail = killed, "the installer ended as if killed (exit code 137), as where a part of it is out of memory"
	case t.ExitCode != 0:
		e.reason, e.detail = failed, fmt.Sprintf("the installer ended with exit code %d", t.ExitCode)
	default:
		e.detail = "the installer ended, but its pod failed"
	}
}

// source says why the source did not get into the sandbox. The container is
// ours, and so is its message.
func (e *ending) source(t *corev1.ContainerStateTerminated) {
	why := map[int32]string{
		stage.ExitFailed:  "it could not be fetched or written",
		stage.ExitRefused: "its ticket has expired or was used",
		stage.ExitInvalid: "it can't be used",
	}[t.ExitCode]
	switch {
	case t.Reason == "OOMKilled":
		why = "there was too little memory to unpack it"
	case why == "":
		why = fmt.Sprintf("exit code %d", t.ExitCode)
	}
	e.detail = "the project's source did not get into the sandbox: " + why
	if m := text(t.Message); m != "" {
		e.detail += ": " + m
	}
}

// state returns the state of a container that was at least to be started.
func state(list []corev1.ContainerStatus, name string) *corev1.ContainerState {
	for i := range list {
		if s := &list[i].State; list[i].Name == name && (s.Running != nil || s.Terminated != nil) {
			return s
		}
	}
	return nil
}

// disrupted is why Kubernetes itself ended the pod, "" if it did not.
func disrupted(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.Reason
		}
	}
	return ""
}

// waiting says what a pod, by its status or its events, waits for before it can
// run: "" if nothing says that it does.
func waiting(s sight) string {
	if s.pod != nil {
		if why := pending(s.pod); why != "" {
			return why
		}
	}
	switch {
	case happened(s.events, "Started", kubernetes.InstallName):
		return ""
	case happened(s.events, "Started", kubernetes.StageName): // so the pod has a node, volumes and a network
		return unstarted(s.events, kubernetes.InstallName)
	}
	if why := unstarted(s.events, kubernetes.StageName); why != "" {
		return why
	}
	scheduled := about(s.events, "Scheduled") != nil
	if e := about(s.events, "FailedScheduling"); e != nil && !scheduled {
		return "it fits on no node: " + text(e.Message)
	}
	if e := about(s.events, "FailedMount"); e != nil {
		return "its volumes can't be mounted: " + text(e.Message)
	}
	if e := about(s.events, "FailedCreatePodSandBox"); e != nil {
		return "its sandbox can't be made: " + text(e.Message)
	}
	if s.pod == nil && len(s.events) == 0 {
		return refused(s.job)
	}
	return ""
}

// unstarted says from events why a container was not started, "" if they don't.
func unstarted(events []corev1.Event, container string) string {
	for _, e := range events {
		if e.Reason == "Failed" && of(e, container) {
			return fmt.Sprintf("its container %s can't be started: %s", container, text(e.Message))
		}
	}
	if happened(events, "Pulling", container) && !happened(events, "Pulled", container) {
		return fmt.Sprintf("the image of its container %s was still being pulled", container)
	}
	return ""
}

// pending says from its status what a pod that has not ended waits for.
func pending(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return "it fits on no node: " + text(c.Message)
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable":
			return fmt.Sprintf("the image of its container %s can't be pulled (%s): %s", c.Name, w.Reason, text(w.Message))
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("its container %s can't be made (%s): %s", c.Name, w.Reason, text(w.Message))
		}
	}
	return ""
}

// refused says from the Job's events why it has no pod, "" if they don't.
func refused(events []corev1.Event) string {
	for _, e := range slices.Backward(events) {
		if e.Reason == "FailedCreate" {
			return "the cluster refuses its pod: " + text(e.Message)
		}
	}
	return ""
}

// happened reports whether something happened to a container of the pod.
func happened(events []corev1.Event, reason, container string) bool {
	return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == reason && of(e, container) })
}

// of reports whether an event is about a container of the pod.
func of(e corev1.Event, container string) bool {
	return strings.HasSuffix(e.InvolvedObject.FieldPath, "{"+container+"}")
}

// about returns the first event with this reason.
func about(events []corev1.Event, reason string) *corev1.Event {
	if i := slices.IndexFunc(events, func(e corev1.Event) bool { return e.Reason == reason }); i >= 0 {
		return &events[i]
	}
	return nil
}

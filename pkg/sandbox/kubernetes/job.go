package kubernetes

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes/stage"
)

// Job describes an attempt's Job. The same Spec makes the same Job.
func (c Config) Job(s Spec) *batchv1.Job {
	c.Limits = c.Limits.orDefault()
	set := labels(s.Request.ID, s.Attempt)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: JobName(s.Request.ID, s.Attempt), Namespace: c.Namespace, Labels: set},
		Spec: batchv1.JobSpec{
			BackoffLimit:            new(int32(0)), // what ran once may have learned that it is watched
			ActiveDeadlineSeconds:   new(int64(Deadline(s.Request).Seconds())),
			TTLSecondsAfterFinished: new(int32(TTL.Seconds())),
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: set}, Spec: c.pod(s)},
		},
	}
}

func (c Config) pod(s Spec) corev1.PodSpec {
	p := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: new(int64(grace.Seconds())),
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		Hostname:                      guest.Hostname,
		// Nothing inside needs a name: the registry has a number. A name server
		// would be a way out, query by query.
		DNSPolicy: corev1.DNSNone,
		DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"127.0.0.53"}, Options: []corev1.PodDNSConfigOption{
			{Name: "timeout", Value: new("1")}, {Name: "attempts", Value: new("1")}}},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(guest.BuilderID)), RunAsGroup: new(int64(guest.BuilderID)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		InitContainers: []corev1.Container{c.stage(s)},
		Containers:     []corev1.Container{c.install(s)},
		Volumes:        c.volumes(),
	}
	if c.RuntimeClass != "" {
		p.RuntimeClassName = new(c.RuntimeClass)
	}
	if c.NoHostUsers {
		p.HostUsers = new(false)
	}
	if c.AppArmor {
		p.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	return p
}

// stage is the container that brings the source. It is the only one that
// learns where from.
func (c Config) stage(s Spec) corev1.Container {
	return corev1.Container{
		Name: StageName, Image: c.StageImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Env: variables(stage.Task{Source: s.Source, Digest: s.Request.Source.Digest, Root: s.Request.Root, Canary: s.Canary, Withhold: s.Recipe.Withhold}.Env()),
		Resources: corev1.ResourceRequirements{
			Requests: resources("50m", "64Mi", "64Mi"),
			Limits: corev1.ResourceList{
				corev1.ResourceCPU: c.Limits.CPU, corev1.ResourceMemory: resource.MustParse("512Mi"), corev1.ResourceEphemeralStorage: c.disk()},
		},
		SecurityContext: confined(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "work", MountPath: stage.WorkVolume}, {Name: "home", MountPath: stage.HomeVolume}, {Name: "etc", MountPath: stage.EtcVolume}},
	}
}

// install is the container that runs what nobody vouches for.
func (c Config) install(s Spec) corev1.Container {
	image, _ := c.image(s.Recipe) // Equipped was asked
	env := slices.Concat(guest.Builder.Env(s.Request.ID), canary.New(s.Canary).Env(), s.Recipe.Env)
	return corev1.Container{
		Name: InstallName, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: escaped(guest.UnderInit(s.Recipe.Argv, s.Recipe.Steps...)), WorkingDir: guest.Dir(s.Request.Root), Env: variables(env),
		Resources: corev1.ResourceRequirements{
			Requests: resources("250m", "512Mi", "512Mi"),
			Limits:   corev1.ResourceList{corev1.ResourceCPU: c.Limits.CPU, corev1.ResourceMemory: c.Limits.Memory, corev1.ResourceEphemeralStorage: c.disk()},
		},
		SecurityContext: confined(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "work", MountPath: stage.WorkVolume}, {Name: "home", MountPath: stage.HomeVolume}, {Name: "tmp", MountPath: "/tmp"},
			// The user has a name in every image.
			{Name: "etc", MountPath: "/etc/passwd", SubPath: "passwd", ReadOnly: true},
			{Name: "etc", MountPath: "/etc/group", SubPath: "group", ReadOnly: true},
		},
	}
}

// volumes are all that can be written; all of them are sized.
func (c Config) volumes() []corev1.Volume {
	dir := func(name string, medium corev1.StorageMedium, size resource.Quantity) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium, SizeLimit: &size}}}
	}
	return []corev1.Volume{
		dir("work", corev1.StorageMediumDefault, c.Limits.Work),
		dir("home", corev1.StorageMediumDefault, c.Limits.Home),
		dir("tmp", corev1.StorageMediumMemory, c.Limits.Temp),
		dir("etc", corev1.StorageMediumMemory, resource.MustParse("1Mi")),
	}
}

// disk is what a pod may write to disk: its volumes and its log.
func (c Config) disk() resource.Quantity {
	d := resource.MustParse("64Mi")
	d.Add(c.Limits.Work)
	d.Add(c.Limits.Home)
	return d
}

// confined is what the restricted standard asks of a container, and a root that
// stays as the image has it.
func confined() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Privileged: new(false), RunAsNonRoot: new(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func resources(cpu, memory, disk string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourceEphemeralStorage: resource.MustParse(disk)}
}

// variables turns "NAME=value" into Kubernetes' form. A later value replaces an
// earlier one of the same name, as execve's callers have it.
func variables(env []string) []corev1.EnvVar {
	var list []corev1.EnvVar
	at := map[string]int{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			list[i].Value = escape(value)
			continue
		}
		at[name] = len(list)
		list = append(list, corev1.EnvVar{Name: name, Value: escape(value)})
	}
	return list
}

// escape keeps Kubernetes from expanding "$(NAME)".
func escape(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func escaped(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = escape(a)
	}
	return out
}

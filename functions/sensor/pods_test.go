package sensor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
)

// pod is a scan's pod whose containers have these IDs so far, "" for none.
func pod(name, stage, install string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{labelScan: string(testScan), labelAttempt: "1"}},
		Spec:       corev1.PodSpec{InitContainers: []corev1.Container{{Name: "stage"}}, Containers: []corev1.Container{{Name: judgedContainer}}},
	}
	id := func(s string) string {
		if s == "" {
			return ""
		}
		return "containerd://" + s
	}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "stage", ContainerID: id(stage)}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: judgedContainer, ContainerID: id(install)}}
	for _, f := range edit {
		f(p)
	}
	return p
}

func ended(p *corev1.Pod) {
	p.Status.ContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{}
	p.Status.Phase = corev1.PodSucceeded
}

func TestAwait(t *testing.T) {
	other := func(p *corev1.Pod) { p.Labels[labelScan] = "not-a-scan" }
	for name, tt := range map[string]struct {
		before *corev1.Pod
		after  *corev1.Pod // a second later
		id     string
		ok     bool
		judged bool
		took   time.Duration
	}{
		"known":                             {pod("p", "s", "i"), nil, "i", true, true, 0},
		"the init container":                {pod("p", "s", "i"), nil, "s", true, false, 0},
		"known a second later":              {pod("p", "s", ""), pod("p", "s", "i"), "i", true, true, time.Second},
		"no scan is about to start":         {pod("p", "s", "i"), nil, "x", false, false, strangerTimeout},
		"no scan at all":                    {nil, nil, "x", false, false, strangerTimeout},
		"a pod that is none of ours":        {pod("p", "s", "i", other), nil, "i", false, false, strangerTimeout},
		"a scan is about to start":          {pod("p", "s", ""), nil, "x", false, false, awaitTimeout},
		"a scan that ended before it began": {pod("p", "s", "", ended), nil, "x", false, false, strangerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := NewTable()
				if tt.before != nil {
					table.Set(tt.before)
				}
				table.Listed()
				if tt.after != nil {
					time.AfterFunc(time.Second, func() { table.Set(tt.after) })
				}
				from := time.Now()
				c, ok := table.Await(t.Context(), tt.id)
				if ok != tt.ok || c.Judged != tt.judged || time.Since(from) != tt.took {
					t.Errorf("%+v %v after %s", c, ok, time.Since(from))
				}
				if ok && (c.Scan != testScan || c.Attempt != 1 || c.ID != tt.id || c.Pod != "p") {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

// TestAwaitBeforeTheList waits where nobody knows yet whether there are scans.
func TestAwaitBeforeTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable()
		time.AfterFunc(10*time.Second, func() { table.Set(pod("p", "s", "i")); table.Listed() })
		if _, ok := table.Await(t.Context(), "i"); !ok {
			t.Error("given up before the pods were known")
		}
	})
}

func TestContainerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable()
		table.Set(pod("p", "s", "i"))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if table.Ended(short, "i") {
			t.Error("ended, but it runs")
		}
		time.AfterFunc(time.Second, func() { table.Set(pod("p", "s", "i", ended)) })
		if !table.Ended(t.Context(), "i") {
			t.Error("not ended")
		}
		table.Set(pod("q", "s2", "i2"))
		time.AfterFunc(time.Second, func() { table.Delete(pod("q", "s2", "i2")) })
		if !table.Ended(t.Context(), "i2") {
			t.Error("a pod that is gone has not ended")
		}
		if len(table.byID) != 2 || len(table.pods) != 1 || len(table.ended) != 2 {
			t.Errorf("what is gone is remembered: %v", table.byID)
		}
	})
}

func TestRunningAtTheStart(t *testing.T) {
	table := NewTable()
	table.Set(pod("p", "s", "i"))
	table.Set(pod("q", "s2", "i2", ended))
	table.Set(pod("r", "s3", ""))
	table.Listed()
	table.Set(pod("r", "s3", "i3")) // started under us
	table.Listed()
	list, err := table.Running(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != "i" {
		t.Errorf("%+v %v", list, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewTable().Running(ctx); err == nil {
		t.Error("no error without a list")
	}
}

func TestHostilePods(t *testing.T) {
	table := NewTable()
	for _, edit := range []func(*corev1.Pod){
		func(p *corev1.Pod) { p.Labels = nil },
		func(p *corev1.Pod) { p.Labels[labelAttempt] = "-1" },
		func(p *corev1.Pod) { p.Labels[labelAttempt] = "many" },
		func(p *corev1.Pod) { p.Status.ContainerStatuses[0].ContainerID = "i" },
		func(p *corev1.Pod) { p.Status.ContainerStatuses = nil },
	} {
		table.Set(pod("p", "", "i", edit))
	}
	if len(table.byID) != 0 {
		t.Errorf("%v", table.byID)
	}
}

// TestNamesAreTheDrivers holds what the sensor looks for to what the driver
// writes on a scan's pod.
func TestNamesAreTheDrivers(t *testing.T) {
	for got, want := range map[string]string{
		labelScan: kubernetes.LabelScan, labelAttempt: kubernetes.LabelAttempt, judgedContainer: kubernetes.InstallName,
		podSelector: "app.kubernetes.io/name=" + kubernetes.AppName,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A pod's canaries are known from what its trusted container is told.
func TestSeedOfAPod(t *testing.T) {
	want := canary.Seed{4, 2}
	for name, tt := range map[string]struct {
		env  []corev1.EnvVar
		want *canary.Seed
	}{
		"told":    {[]corev1.EnvVar{{Name: "A", Value: "b"}, {Name: canary.SeedEnv, Value: want.Hex()}}, &want},
		"not":     {nil, nil},
		"garbage": {[]corev1.EnvVar{{Name: canary.SeedEnv, Value: "x"}}, nil},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "stage", Env: tt.env}},
			Containers: []corev1.Container{{Name: judgedContainer, Env: []corev1.EnvVar{{Name: canary.SeedEnv, Value: canary.Seed{}.Hex()}}}}}}
		if got := seed(p); (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

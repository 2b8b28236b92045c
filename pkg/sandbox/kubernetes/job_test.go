package kubernetes_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const ticketed = "http://192.0.2.7:4873/npm/the-npm-ticket/"

func config() kubernetes.Config {
	return kubernetes.Config{Namespace: "falconer-sandbox", Image: "registry.example.com/npm@sha256:" + strings.Repeat("1", 64),
		StageImage: "registry.example.com/stage@sha256:" + strings.Repeat("2", 64)}
}

func spec(c kubernetes.Config) kubernetes.Spec {
	r := scan.Request{Project: "acme/shop", Commit: "c0ffee", Root: "web", Manager: "npm", Lockfile: "package-lock.json",
		TimeoutSeconds: 120, Source: scan.Source{Object: "o", Digest: "sha256:" + strings.Repeat("3", 64)}}
	r.ID = r.Key().ID()
	p := ecosystem.Project{Root: "web", Packages: []ecosystem.Package{}, Settings: map[string]string{"legacy-peer-deps": "true"}}
	return kubernetes.Spec{Request: r, Attempt: 1, Recipe: npm.Manager{}.Recipe(p, c.Setting(r.Root, ticketed)), Source: "http://192.0.2.7:4873/source/the-source-ticket"}
}

// settings are the ways in which a cluster can differ.
func settings() map[string]kubernetes.Config {
	plain, full := config(), config()
	full.RuntimeClass, full.NoHostUsers, full.AppArmor, full.NodeDir = "gvisor", true, true, "/usr/local"
	return map[string]kubernetes.Config{"plain": plain, "full": full}
}

func TestJob(t *testing.T) {
	for name, c := range settings() {
		got, err := yaml.Marshal(c.Job(spec(c)))
		if err != nil {
			t.Fatal(err)
		}
		// Planted tokens look real enough to alarm whoever scans this repository.
		got = []byte(canary.New(canary.Seed{}).Redact(string(got)))
		golden := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs; -update if that is meant:\n%s", golden, diff)
		}
	}
}

// The standard itself judges, as it does in the API server; and a pod that it
// must refuse shows that it does.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	judge := func(p *corev1.PodTemplateSpec) policy.AggregateCheckResult {
		return policy.AggregateCheckResults(evaluator.EvaluatePod(level, &p.ObjectMeta, &p.Spec))
	}
	for name, c := range settings() {
		pod := &c.Job(spec(c)).Spec.Template
		if r := judge(pod); !r.Allowed {
			t.Errorf("%s: %s", name, r.ForbiddenDetail())
		}
		pod.Spec.Containers[0].SecurityContext.Capabilities.Drop[0] = "all"
		if r := judge(pod); r.Allowed {
			t.Errorf("%s: the evaluator lets everything pass", name)
		}
	}
}

func TestWhatAPodMustNotHave(t *testing.T) {
	for name, c := range settings() {
		p := c.Job(spec(c)).Spec.Template.Spec
		install := p.Containers[0]
		raw, err := json.Marshal(install)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "the-source-ticket") {
			t.Errorf("%s: the source's ticket reaches untrusted code", name)
		}
		if !strings.Contains(string(raw), "the-npm-ticket") {
			t.Errorf("%s: the registry's address does not reach npm", name)
		}
		if *p.AutomountServiceAccountToken || *p.EnableServiceLinks || p.DNSPolicy != corev1.DNSNone || p.HostNetwork || p.HostPID || p.HostIPC {
			t.Errorf("%s: a token, a link, a name server or a host's namespace", name)
		}
		for _, each := range append(p.InitContainers, p.Containers...) {
			if !*each.SecurityContext.ReadOnlyRootFilesystem || each.EnvFrom != nil {
				t.Errorf("%s: container %s: its root is written to, or variables come from elsewhere", name, each.Name)
			}
			for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
				if q := each.Resources.Limits[r]; q.IsZero() {
					t.Errorf("%s: container %s has no limit on %s", name, each.Name, r)
				}
			}
		}
		for _, v := range p.Volumes {
			if v.EmptyDir == nil || v.EmptyDir.SizeLimit.IsZero() {
				t.Errorf("%s: volume %s is not a sized empty directory", name, v.Name)
			}
		}
	}
}

// Whatever a project's settings hold, Kubernetes expands none of it.
func TestNothingIsExpanded(t *testing.T) {
	c := config()
	s := spec(c)
	s.Recipe.Argv, s.Recipe.Env = []string{"npm", "$(HOME)", "$$(HOME)"}, []string{"A=$(HOME)", "A=last $(HOME)"}
	install := c.Job(s).Spec.Template.Spec.Containers[0]
	n := len(install.Command)
	if diff := cmp.Diff([]string{"npm", "$$(HOME)", "$$$$(HOME)"}, install.Command[n-3:]); diff != "" {
		t.Error(diff)
	}
	if v := install.Env[len(install.Env)-1]; v.Name != "A" || v.Value != "last $$(HOME)" {
		t.Errorf("got %+v", v)
	}
}

// Alerts are joined to scans by these names and this variable.
func TestAlertsFindTheirScan(t *testing.T) {
	c := config()
	s := spec(c)
	for _, attempt := range []int{1, 2, 12} {
		s.Attempt = attempt
		j := c.Job(s)
		for _, name := range []string{j.Name, j.Name + "-x7k2p"} {
			a := falco.Alert{Fields: map[string]any{"k8s.pod.name": name}}
			if id, ok := a.Scan(); !ok || id != s.Request.ID {
				t.Errorf("pod %s: scan %s, %v", name, id, ok)
			}
		}
		if len(j.Name) > 63-len("-x7k2p") {
			t.Errorf("%s is too long for a pod's label", j.Name)
		}
		if j.Labels[kubernetes.LabelScan] != string(s.Request.ID) || j.Spec.Template.Labels[kubernetes.LabelScan] != string(s.Request.ID) {
			t.Errorf("labels %v, %v", j.Labels, j.Spec.Template.Labels)
		}
	}
	found := false
	for _, v := range c.Job(s).Spec.Template.Spec.Containers[0].Env {
		found = found || v.Name == falco.MarkerEnv && v.Value == string(s.Request.ID)
	}
	if !found {
		t.Error("no marker variable")
	}
}

func TestDeadline(t *testing.T) {
	j := config().Job(spec(config()))
	if want := int64((2*time.Minute + kubernetes.StageTime).Seconds()); *j.Spec.ActiveDeadlineSeconds != want {
		t.Errorf("%d s, want %d s", *j.Spec.ActiveDeadlineSeconds, want)
	}
}

package config_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// check returns what is wrong with a rendered overlay.
func check(ctx context.Context, all []object) []string {
	c := &checker{accounts: map[string]*corev1.ServiceAccount{}, services: map[string]bool{}, namespaces: map[string]psa.Level{}}
	for _, o := range all {
		c.declare(o)
	}
	for _, o := range all {
		c.at = fmt.Sprintf("%s %s", o.kind.Kind, o.Object.(metav1.Object).GetName())
		c.object(ctx, o)
	}
	return c.problems
}

type checker struct {
	accounts   map[string]*corev1.ServiceAccount // by namespace/name
	services   map[string]bool                   // Knative's, by name
	namespaces map[string]psa.Level              // what each enforces
	at         string
	problems   []string
}

func (c *checker) bad(format string, args ...any) {
	c.problems = append(c.problems, c.at+": "+fmt.Sprintf(format, args...))
}

func (c *checker) declare(o object) {
	switch x := o.Object.(type) {
	case *corev1.ServiceAccount:
		c.accounts[x.Namespace+"/"+x.Name] = x
	case *servingv1.Service:
		c.services[x.Name] = true
	case *corev1.Namespace:
		c.namespaces[x.Name] = psa.Level(x.Labels[psa.EnforceLevelLabel])
	}
}

func (c *checker) object(ctx context.Context, o object) {
	// A released feature that Knative switches on by its configuration.
	ctx = feature.ToContext(ctx, feature.Flags{feature.DeliveryTimeout: feature.Enabled})
	if v, ok := o.Object.(apis.Defaultable); ok {
		v.SetDefaults(ctx)
	}
	if v, ok := o.Object.(apis.Validatable); ok {
		if err := v.Validate(apis.WithinCreate(ctx)).Filter(apis.ErrorLevel); err != nil {
			c.bad("%v", err)
		}
	}
	switch x := o.Object.(type) {
	case *servingv1.Service:
		c.function(x)
	case *appsv1.Deployment:
		c.pod(x.Namespace, x.Spec.Template)
	case *appsv1.StatefulSet:
		c.pod(x.Namespace, x.Spec.Template)
	case *appsv1.DaemonSet:
		c.pod(x.Namespace, x.Spec.Template)
	case *batchv1.Job:
		c.pod(x.Namespace, x.Spec.Template)
	case *eventingv1.Trigger:
		c.trigger(x)
	case *rbacv1.Role:
		c.rules(x.Rules)
	case *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding:
		c.bad("nothing of ours needs rights in the whole cluster")
	case *rbacv1.RoleBinding:
		for _, s := range x.Subjects {
			if c.accounts[s.Namespace+"/"+s.Name] == nil {
				c.bad("there is no account %s/%s", s.Namespace, s.Name)
			}
		}
	}
}

// public are the functions that the outside may reach; the others are not even
// given an address there.
var public = []string{"gitlabhook", "api"}

func (c *checker) function(s *servingv1.Service) {
	spec := s.Spec.Template.Spec
	c.pod(s.Namespace, corev1.PodTemplateSpec{ObjectMeta: s.Spec.Template.ObjectMeta, Spec: spec.PodSpec})
	if (s.Labels["networking.knative.dev/visibility"] == "cluster-local") == slices.Contains(public, s.Name) {
		c.bad("its visibility is not what it should be")
	}
	if spec.ServiceAccountName != s.Name {
		c.bad("its account is %q, not its own", spec.ServiceAccountName)
	}
	notes := s.Spec.Template.Annotations
	if notes["autoscaling.knative.dev/max-scale"] == "" {
		c.bad("nothing bounds how many pods there may be")
	}
	if least := notes["autoscaling.knative.dev/min-scale"]; (least == "1") != (s.Name == "falcogate") {
		c.bad("min-scale is %q", least)
	}
}

// talkers are the accounts with business at the API server.
var talkers = []string{"runner", "jobwatch", "sensor"}

// secured are the namespaces that enforce restricted.
var secured = []string{"falconer", "falconer-sandbox"}

func (c *checker) pod(namespace string, t corev1.PodTemplateSpec) {
	p := t.Spec
	account := c.accounts[namespace+"/"+p.ServiceAccountName]
	if account == nil {
		c.bad("there is no account %s/%s", namespace, p.ServiceAccountName)
		return
	}
	automount := account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
	if p.AutomountServiceAccountToken != nil {
		automount = *p.AutomountServiceAccountToken
	}
	if automount != slices.Contains(talkers, account.Name) {
		c.bad("a token of %s is mounted: %v", account.Name, automount)
	}
	if slices.Contains(secured, namespace) {
		if c.namespaces[namespace] != psa.LevelRestricted {
			c.bad("namespace %s enforces %q", namespace, c.namespaces[namespace])
		}
		c.restricted(t)
	}
	for _, container := range slices.Concat(p.InitContainers, p.Containers) {
		c.container(container)
	}
}

// restricted asks the admission's own evaluator.
func (c *checker) restricted(t corev1.PodTemplateSpec) {
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		c.bad("%v", err)
		return
	}
	r := policy.AggregateCheckResults(e.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &t.ObjectMeta, &t.Spec))
	if !r.Allowed {
		c.bad("not restricted: %s", r.ForbiddenDetail())
	}
}

func (c *checker) container(x corev1.Container) {
	if !strings.HasPrefix(x.Image, "ko://") && !strings.Contains(x.Image, "@sha256:") {
		c.bad("image %q is neither built here nor given by digest", x.Image)
	}
	if x.SecurityContext == nil || x.SecurityContext.ReadOnlyRootFilesystem == nil || !*x.SecurityContext.ReadOnlyRootFilesystem {
		c.bad("its root can be written to")
	}
	if x.Resources.Requests.Memory().IsZero() || x.Resources.Requests.Cpu().IsZero() || x.Resources.Limits.Memory().IsZero() {
		c.bad("resources are missing: %v", x.Resources)
	}
	if x.ReadinessProbe == nil || x.LivenessProbe == nil {
		c.bad("a probe is missing")
	}
	names := map[string]int{}
	for _, e := range x.Env {
		names[e.Name]++
		if e.Value != "" && (strings.HasSuffix(e.Name, "_TOKEN") || strings.HasSuffix(e.Name, "_PASSWORD")) {
			c.bad("%s holds a secret", e.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] > 1 {
			c.bad("%s is set %d times", name, names[name])
		}
	}
}

func (c *checker) trigger(t *eventingv1.Trigger) {
	if s := t.Spec.Subscriber.Ref; s == nil || !c.services[s.Name] {
		c.bad("its subscriber is no function")
	}
	d := t.Spec.Delivery
	switch {
	case d == nil:
		c.bad("it does not repeat its delivery block")
	case d.Retry == nil || d.BackoffPolicy == nil || d.BackoffDelay == nil || d.Timeout == nil || d.DeadLetterSink == nil:
		c.bad("its delivery block lacks a retry, a back-off, a timeout or a dead-letter sink")
	case d.DeadLetterSink.Ref == nil || !c.services[d.DeadLetterSink.Ref.Name]:
		c.bad("its dead-letter sink is no function")
	}
}

func (c *checker) rules(rules []rbacv1.PolicyRule) {
	for _, r := range rules {
		for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
			if strings.Contains(word, "*") {
				c.bad("a rule with a wildcard: %v", r)
			}
		}
		if slices.Contains(r.Resources, "secrets") {
			c.bad("a rule that reads Secrets: %v", r)
		}
	}
}

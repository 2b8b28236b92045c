package eventing_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/pkg/event"
)

// objects reads sources.yaml, strictly.
func objects(t *testing.T) (apiServer map[string]*sourcesv1.ApiServerSource, ping []*sourcesv1.PingSource, roles map[string]*rbacv1.Role, bindings []*rbacv1.RoleBinding, accounts []*corev1.ServiceAccount) {
	t.Helper()
	raw, err := eventing.FS.ReadFile("sources.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apiServer, roles = map[string]*sourcesv1.ApiServerSource{}, map[string]*rbacv1.Role{}
	for doc := range bytes.SplitSeq(raw, []byte("\n---\n")) {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			t.Fatal(err)
		}
		into := func(v any) {
			t.Helper()
			if err := yaml.UnmarshalStrict(doc, v); err != nil {
				t.Fatalf("%s %s: %v", u.GetKind(), u.GetName(), err)
			}
		}
		switch u.GetKind() {
		case "ApiServerSource":
			s := &sourcesv1.ApiServerSource{}
			into(s)
			apiServer[s.Name] = s
		case "PingSource":
			s := &sourcesv1.PingSource{}
			into(s)
			ping = append(ping, s)
		case "Role":
			r := &rbacv1.Role{}
			into(r)
			roles[r.Namespace+"/"+r.Name] = r
		case "RoleBinding":
			b := &rbacv1.RoleBinding{}
			into(b)
			bindings = append(bindings, b)
		case "ServiceAccount":
			a := &corev1.ServiceAccount{}
			into(a)
			accounts = append(accounts, a)
		case "": // the comment at the top
		default:
			t.Errorf("%s %s is not known here", u.GetKind(), u.GetName())
		}
	}
	return
}

func TestSourcesAreValidAndSendToTheBroker(t *testing.T) {
	apiServer, ping, _, _, _ := objects(t)
	check := func(name string, sink duckv1.Destination, err *apis.FieldError) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r := sink.Ref; r == nil || r.Kind != "Broker" || r.Name != eventing.Broker || r.APIVersion != "eventing.knative.dev/v1" {
			t.Errorf("%s: its sink is %+v", name, sink)
		}
	}
	for name, s := range apiServer {
		check(name, s.Spec.Sink, s.Validate(context.Background()))
	}
	for _, s := range ping {
		check(s.Name, s.Spec.Sink, s.Validate(context.Background()))
	}
	if len(apiServer) != 2 || len(ping) != 1 {
		t.Errorf("%d and %d sources", len(apiServer), len(ping))
	}
}

// TestAccountsOfSourcesReadWhatTheyWatch holds each source's account to the one
// kind of object in the one namespace.
func TestAccountsOfSourcesReadWhatTheyWatch(t *testing.T) {
	apiServer, _, roles, bindings, accounts := objects(t)
	want := map[string]string{"scan-jobs": "falconer-sandbox jobs", "gitlabhook-pods": "falconer pods"}
	got := map[string]string{}
	for name, s := range apiServer {
		account := s.Spec.ServiceAccountName
		if !slices.ContainsFunc(accounts, func(a *corev1.ServiceAccount) bool { return a.Name == account && a.Namespace == s.Namespace }) {
			t.Errorf("%s: account %q does not exist", name, account)
		}
		for _, b := range bindings {
			if len(b.Subjects) != 1 || b.Subjects[0].Name != account || b.Subjects[0].Namespace != s.Namespace {
				continue
			}
			role := roles[b.Namespace+"/"+b.RoleRef.Name]
			if role == nil || len(role.Rules) != 1 || len(role.Rules[0].Resources) != 1 {
				t.Fatalf("%s: role %+v", name, role)
			}
			if d := cmp.Diff([]string{"get", "list", "watch"}, role.Rules[0].Verbs); d != "" {
				t.Errorf("%s: verbs (-want +got):\n%s", name, d)
			}
			got[name] += b.Namespace + " " + role.Rules[0].Resources[0]
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("source: namespace, resource (-want +got):\n%s", d)
	}
}

// TestRoutingOfSources is the event table's other half: who hears what Knative's
// sources say.
func TestRoutingOfSources(t *testing.T) {
	job := map[string]string{"kind": "Job", "apiversion": "batch/v1", "namespace": "falconer-sandbox", "name": "falconer-scan-0"}
	pod := map[string]string{"kind": "Pod", "apiversion": "v1", "namespace": "falconer", "name": "gitlabhook-00001-deployment-5d4f-x7x"}
	with := func(m map[string]string, k, v string) map[string]string {
		out := map[string]string{k: v}
		for a, b := range m {
			if a != k {
				out[a] = b
			}
		}
		return out
	}
	set := load(t)
	for name, c := range map[string]struct {
		typ        string
		extensions map[string]string
		want       []string
	}{
		"ping":                  {event.Ping, nil, []string{"correlator", "jobwatch", "planner", "runner"}},
		"job added":             {event.ResourceAdded, job, []string{"jobwatch"}},
		"job updated":           {event.ResourceUpdated, job, []string{"jobwatch"}},
		"job deleted":           {event.ResourceDeleted, job, []string{"jobwatch"}},
		"reference to a job":    {event.RefAdded, job, nil},
		"job elsewhere":         {event.ResourceAdded, with(job, "namespace", "default"), nil},
		"pod of gitlabhook":     {event.RefAdded, pod, []string{"planner", "runner"}},
		"another pod":           {event.RefAdded, with(pod, "name", "api-00001-deployment-5d4f-x7x"), nil},
		"pod elsewhere":         {event.RefAdded, with(pod, "namespace", "falconer-sandbox"), nil},
		"pod updated":           {event.RefUpdated, pod, nil},
		"whole pod":             {event.ResourceAdded, pod, nil},
		"pod of a scan":         {event.ResourceAdded, with(job, "kind", "Pod"), nil},
		"without any extension": {event.ResourceAdded, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := ce.New()
			e.SetID("1")
			e.SetSource("https://kubernetes.example.com")
			e.SetType(c.typ)
			for k, v := range c.extensions {
				e.SetExtension(k, v)
			}
			if d := cmp.Diff(c.want, hear(t, set, e)); d != "" {
				t.Errorf("heard by (-want +got):\n%s", d)
			}
		})
	}
}

func TestEmbeddedTopologyLeavesOutWhatOnlyAClusterHas(t *testing.T) {
	set, err := load(t).Without(eventing.ClusterOnly()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range set.Triggers {
		if slices.Contains(eventing.ClusterOnly(), tr.Subscriber.Name) {
			t.Errorf("trigger %s delivers to %s", tr.Name, tr.Subscriber.Name)
		}
	}
}

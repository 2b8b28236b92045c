package config_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/eventing/v1beta3"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are what is deployed.
var overlays = []string{"dev", "nats", "falco"}

// kinds are the only kinds there are, as the cluster's own types.
var kinds = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		rbacv1.AddToScheme, servingv1.AddToScheme, eventingv1.AddToScheme, v1beta3.AddToScheme, sourcesv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // two types of one name: a mistake above
		}
	}
	return s
})

// render builds an overlay as `kustomize build` does.
func render(t *testing.T, overlay string) []byte {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "overlays/"+overlay)
	if err != nil {
		t.Fatalf("overlay %s: %v", overlay, err)
	}
	text, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// object is a decoded document.
type object struct {
	kind schema.GroupVersionKind
	runtime.Object
}

// decode reads documents strictly: no unknown kind, field or repeated key.
func decode(text []byte) ([]object, error) {
	strict := serializer.NewCodecFactory(kinds(), serializer.EnableStrict).UniversalDeserializer()
	docs := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var all []object
	for n := 1; ; n++ {
		doc, err := docs.Read()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		o, kind, err := strict.Decode(doc, nil, nil)
		if err != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(string(doc)), "\n")
			return nil, fmt.Errorf("document %d (%s): %w", n, first, err)
		}
		all = append(all, object{*kind, o})
	}
}

// TestOverlaysRender holds every overlay to what check knows.
func TestOverlaysRender(t *testing.T) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			all, err := decode(render(t, overlay))
			if err != nil {
				t.Fatal(err)
			}
			if problems := check(t.Context(), all); len(problems) > 0 {
				t.Errorf("%d problems:\n%s", len(problems), strings.Join(problems, "\n"))
			}
		})
	}
}

// TestBaseHoldsNoSecret: they are made where they are needed.
func TestBaseHoldsNoSecret(t *testing.T) {
	for _, overlay := range overlays {
		if bytes.Contains(render(t, overlay), []byte("\nkind: Secret\n")) {
			t.Errorf("overlay %s has a Secret", overlay)
		}
	}
}

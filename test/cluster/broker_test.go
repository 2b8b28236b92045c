//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/falconer-sec/falconer/test/cluster/world"
	"github.com/falconer-sec/falconer/test/conformance"
)

// embeddedOnly starts the comment of a case that Knative's channel broker is
// known to differ in.
const embeddedOnly = "embedded:"

// TestKnativeBroker plays the suite that the embedded broker passes on
// Knative's.
func TestKnativeBroker(t *testing.T) {
	r := open(t)
	objects, err := dynamic.NewForConfig(r.rest)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(conformance.Cases, "testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		text, err := conformance.Cases.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(path.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			if bytes.HasPrefix(text, []byte(embeddedOnly)) {
				t.Skip("the case says that only the embedded broker does this")
			}
			k := knative{rig: &rig{TB: t, k8s: r.k8s, rest: r.rest, world: r.world}, objects: objects, namespace: "falconer-broker-" + name + "-" + run}
			conformance.Run(t, k, conformance.Pace{Patience: 30 * time.Second, Quiet: 2 * time.Second}, txtar.Parse(text))
		})
	}
}

// knative runs a topology in a namespace of its own; its receivers are in the
// world's pod.
type knative struct {
	*rig
	objects   dynamic.Interface
	namespace string
}

var _ conformance.Target = knative{}

func (k knative) id(name string) string { return k.namespace + "." + name }

func (k knative) Receive(ctx context.Context, name, script string) (string, error) {
	err := k.try(ctx, "POST", "/receivers", world.Receiver{ID: k.id(name), Script: script}, nil)
	return "http://world." + outside + ".svc.cluster.local:8080/receivers/" + k.id(name), err
}

func (k knative) Send(ctx context.Context, ingress, text string) (int, error) {
	var out world.Posted
	err := k.try(ctx, "POST", "/post", world.Posting{URL: ingress, Text: text}, &out)
	return out.Status, err
}

func (k knative) Got(ctx context.Context, name string) (got []string, err error) {
	return got, k.try(ctx, "GET", "/receivers/"+k.id(name), nil, &got)
}

func (k knative) Apply(ctx context.Context, topology []byte, subscribers map[string]string) (string, error) {
	_, err := k.k8s.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: k.namespace}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	k.Cleanup(func() {
		if err := k.k8s.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), k.namespace, metav1.DeleteOptions{}); err != nil {
			k.Error(err)
		}
	})
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(topology), 4096)
	for {
		var o unstructured.Unstructured
		if err := docs.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", err
		}
		o.SetNamespace(k.namespace)
		resolve(o.Object, subscribers)
		if err := k.create(ctx, &o); err != nil {
			return "", err
		}
	}
	broker, err := k.objects.Resource(eventingResource("Broker")).Namespace(k.namespace).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	url, _, err := unstructured.NestedString(broker.Object, "status", "address", "url")
	return url, err
}

// create creates an object and waits until it is ready.
func (k knative) create(ctx context.Context, o *unstructured.Unstructured) error {
	c := k.objects.Resource(eventingResource(o.GetKind())).Namespace(k.namespace)
	if _, err := c.Create(ctx, o, metav1.CreateOptions{}); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		now, err := c.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
		if err != nil {
			return err
		}
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Ready" && m["status"] == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("%s %s is not ready after a minute", o.GetKind(), o.GetName())
}

func eventingResource(kind string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: strings.ToLower(kind) + "s"}
}

// resolve replaces references to services, wherever they stand, by addresses.
func resolve(v any, to map[string]string) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	if ref, ok := m["ref"].(map[string]any); ok {
		delete(m, "ref")
		m["uri"] = to[fmt.Sprint(ref["name"])]
		return
	}
	for _, child := range m {
		resolve(child, to)
	}
}

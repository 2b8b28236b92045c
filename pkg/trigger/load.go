package trigger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/eventing/v1beta3"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// maxFile bounds one topology file; they are a few kilobytes.
const maxFile = 1 << 20

// Set is a loaded topology. It is read-only and safe for concurrent use.
type Set struct {
	Brokers    []Broker
	Triggers   []*Trigger
	EventTypes []EventType
}

// Broker is a declared broker.
type Broker struct{ Namespace, Name string }

// EventType is a declared event type.
type EventType struct{ Namespace, Name, Type, Source, Schema string }

// Load reads every *.yaml file of fsys, in name order, and validates it as the
// cluster would: unknown fields and kinds, what Knative's own Validate refuses,
// filters that would fail open or panic, and Triggers of an undeclared Broker.
// A cluster's sources of events and their accounts may stand among them; they
// are neither kept nor validated. Errors are fault.Permanent and name file and
// document.
func Load(fsys fs.FS) (*Set, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fault.New("trigger: list topology", fault.Permanent, err)
	}
	l := &loader{brokers: map[Broker]*eventingv1.Broker{}, seen: map[string]bool{}}
	for _, name := range names {
		if err := l.file(fsys, name); err != nil {
			return nil, fault.New("trigger", fault.Permanent, err)
		}
	}
	if err := l.resolve(); err != nil {
		return nil, fault.New("trigger", fault.Permanent, err)
	}
	return &l.set, nil
}

// For returns the Triggers of one broker.
func (s *Set) For(b Broker) []*Trigger {
	var ts []*Trigger
	for _, t := range s.Triggers {
		if t.Broker == b {
			ts = append(ts, t)
		}
	}
	return ts
}

// Without returns the topology less the Triggers that deliver to one of these
// functions: for a runtime that does not have them. A name that no Trigger
// delivers to is fault.Permanent, as it would hide nothing but a mistake.
func (s *Set) Without(functions ...string) (*Set, error) {
	out := *s
	out.Triggers = nil
	gone := map[string]bool{}
	for _, t := range s.Triggers {
		if slices.Contains(functions, t.Subscriber.Name) {
			gone[t.Subscriber.Name] = true
			continue
		}
		out.Triggers = append(out.Triggers, t)
	}
	for _, f := range functions {
		if !gone[f] {
			return nil, fault.Errorf(fault.Permanent, "trigger: nothing is delivered to %q, so there is nothing to leave out", f)
		}
	}
	return &out, nil
}

// loader collects documents; Triggers are resolved last, since their Broker may
// stand in a later file.
type loader struct {
	set      Set
	brokers  map[Broker]*eventingv1.Broker
	triggers []pending
	seen     map[string]bool
}

type pending struct {
	where string
	obj   *eventingv1.Trigger
}

func (l *loader) file(fsys fs.FS, name string) error {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%s: %d bytes, at most %d are accepted", name, info.Size(), maxFile)
	}
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	for i, doc := range documents(raw) {
		if err := l.document(doc, fmt.Sprintf("%s: document %d", path.Base(name), i+1)); err != nil {
			return err
		}
	}
	return nil
}

// documents splits a YAML stream at its "---" lines and leaves out documents
// that hold comments only.
func documents(raw []byte) [][]byte {
	var docs [][]byte
	var doc []byte
	flush := func() {
		for line := range bytes.Lines(doc) {
			if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
				docs = append(docs, doc)
				break
			}
		}
		doc = nil
	}
	for line := range bytes.Lines(raw) {
		if bytes.Equal(bytes.TrimRight(line, " \t\r\n"), []byte("---")) {
			flush()
			continue
		}
		doc = append(doc, line...)
	}
	flush()
	return docs
}

func (l *loader) document(doc []byte, where string) error {
	var meta struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct{ Namespace, Name string }
	}
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	where = fmt.Sprintf("%s (%s %s/%s)", where, meta.Kind, meta.Metadata.Namespace, meta.Metadata.Name)
	if meta.Metadata.Namespace == "" || meta.Metadata.Name == "" {
		return fmt.Errorf("%s: metadata.namespace and metadata.name are required", where)
	}
	key := meta.Kind + "/" + meta.Metadata.Namespace + "/" + meta.Metadata.Name
	if l.seen[key] {
		return fmt.Errorf("%s: declared twice", where)
	}
	l.seen[key] = true
	switch meta.APIVersion + " " + meta.Kind {
	case "eventing.knative.dev/v1 Broker":
		return l.broker(doc, where)
	case "eventing.knative.dev/v1 Trigger":
		return l.trigger(doc, where)
	case "eventing.knative.dev/v1beta3 EventType":
		return l.eventType(doc, where)
	case "sources.knative.dev/v1 ApiServerSource", "sources.knative.dev/v1 PingSource",
		"v1 ServiceAccount", "rbac.authorization.k8s.io/v1 Role", "rbac.authorization.k8s.io/v1 RoleBinding":
		return nil // what makes events in a cluster, and what that may read there: nothing here runs it
	}
	return fmt.Errorf("%s: %s %s is not a kind that the topology knows", where, meta.APIVersion, meta.Kind)
}

// knative is the context of a cluster with default features.
func knative() context.Context {
	return feature.ToContext(context.Background(), feature.Flags{feature.DeliveryTimeout: feature.Enabled})
}

// validatable is a pointer to one of Knative's resources.
type validatable[T any] interface {
	*T
	Validate(ctx context.Context) *apis.FieldError
}

// parse decodes a document, strictly, and has Knative validate it.
func parse[T any, P validatable[T]](doc []byte, where string) (P, error) {
	obj := P(new(T))
	if err := yaml.UnmarshalStrict(doc, obj); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if err := obj.Validate(knative()); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return obj, nil
}

func (l *loader) broker(doc []byte, where string) error {
	obj, err := parse[eventingv1.Broker](doc, where)
	if err != nil {
		return err
	}
	b := Broker{obj.Namespace, obj.Name}
	l.brokers[b] = obj
	l.set.Brokers = append(l.set.Brokers, b)
	return nil
}

func (l *loader) trigger(doc []byte, where string) error {
	obj, err := parse[eventingv1.Trigger](doc, where)
	if err != nil {
		return err
	}
	l.triggers = append(l.triggers, pending{where, obj})
	return nil
}

func (l *loader) eventType(doc []byte, where string) error {
	obj, err := parse[v1beta3.EventType](doc, where)
	if err != nil {
		return err
	}
	et := EventType{Namespace: obj.Namespace, Name: obj.Name}
	for _, a := range obj.Spec.Attributes {
		switch a.Name {
		case "type":
			et.Type = a.Value
		case "source":
			et.Source = a.Value
		case "dataschema":
			et.Schema = a.Value
		}
	}
	l.set.EventTypes = append(l.set.EventTypes, et)
	return nil
}

func (l *loader) resolve() error {
	for _, p := range l.triggers {
		broker, ok := l.brokers[Broker{p.obj.Namespace, p.obj.Spec.Broker}]
		if !ok {
			return fmt.Errorf("%s: broker %q is not declared", p.where, p.obj.Spec.Broker)
		}
		t, err := newTrigger(p.obj, broker)
		if err != nil {
			return fmt.Errorf("%s: %w", p.where, err)
		}
		l.set.Triggers = append(l.set.Triggers, t)
	}
	slices.SortFunc(l.set.Triggers, func(a, b *Trigger) int {
		return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return nil
}

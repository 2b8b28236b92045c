// Package trigger reads the topology: Knative's Broker, Trigger and EventType
// resources, the same files that a cluster is given.
//
// Guarantees: what Load accepts, Knative's own validation accepts; an event
// matches here exactly if it matches in Knative, because the dialects are
// evaluated by Knative's filter library; delivery settings mean what they mean
// there. Two of the library's traps are closed: a filter that it would skip
// (and so fail open) is refused at load, and one that panics is reported by
// Match as an error.
//
// This is the only package that imports Knative Eventing.
package trigger

import (
	"fmt"

	ce "github.com/cloudevents/sdk-go/v2/event"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Trigger sends the events of a broker that pass its filter to a subscriber.
type Trigger struct {
	Namespace, Name string
	Broker          Broker
	Subscriber      Destination
	Delivery        Delivery

	filter root
	types  []string
}

// Destination is where events are sent: a function by the name of its Service,
// or, with Name empty, a URI.
type Destination struct{ Namespace, Name, URI string }

// URL is the address by which a cluster knows the destination.
func (d Destination) URL() string {
	if d.Name == "" {
		return d.URI
	}
	return "http://" + d.Name + "." + d.Namespace + ".svc.cluster.local" + d.URI
}

// IsZero reports whether there is no destination.
func (d Destination) IsZero() bool { return d == Destination{} }

// Match reports whether the trigger wants the event. An error means that the
// filter could not be evaluated (it panicked): the event must then be neither
// dropped nor delivered as if it had matched. It is fault.Permanent.
func (t *Trigger) Match(e ce.Event) (ok bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			ok, err = false, fault.Errorf(fault.Permanent, "trigger %s: filter panicked: %v", t.Name, v)
		}
	}()
	return t.filter.passes(e), nil
}

// Types lists the event types outside of which the trigger never matches, or
// nil if it may match any. It only narrows what has to be looked at: Match
// decides.
func (t *Trigger) Types() []string { return t.types }

// newTrigger takes what Knative's reconciler would: delivery from the Trigger,
// or from the Broker if the Trigger has none at all; the dead-letter sink from
// the Broker if the Trigger names none.
func newTrigger(obj *eventingv1.Trigger, broker *eventingv1.Broker) (*Trigger, error) {
	t := &Trigger{Namespace: obj.Namespace, Name: obj.Name, Broker: Broker{broker.Namespace, broker.Name}}
	var err error
	if t.Subscriber, err = destination(obj.Spec.Subscriber, obj.Namespace); err != nil {
		return nil, fmt.Errorf("spec.subscriber: %w", err)
	}
	spec := obj.Spec.Delivery
	if spec == nil {
		spec = broker.Spec.Delivery
	}
	if t.Delivery, err = newDelivery(spec, obj.Namespace); err != nil {
		return nil, fmt.Errorf("spec.delivery: %w", err)
	}
	if t.Delivery.DeadLetter.IsZero() && broker.Spec.Delivery != nil && broker.Spec.Delivery.DeadLetterSink != nil {
		if t.Delivery.DeadLetter, err = destination(*broker.Spec.Delivery.DeadLetterSink, broker.Namespace); err != nil {
			return nil, fmt.Errorf("the broker's deadLetterSink: %w", err)
		}
	}
	if t.filter, t.types, err = newFilter(obj.Spec); err != nil {
		return nil, fmt.Errorf("spec.filters: %w", err)
	}
	return t, nil
}

func destination(d duckv1.Destination, namespace string) (Destination, error) {
	out := Destination{}
	if d.URI != nil {
		out.URI = d.URI.String()
	}
	if d.Ref == nil {
		return out, nil
	}
	if d.Ref.Kind != "Service" || (d.Ref.APIVersion != "serving.knative.dev/v1" && d.Ref.APIVersion != "v1") {
		return out, fmt.Errorf("%s %s is not a Service", d.Ref.APIVersion, d.Ref.Kind)
	}
	out.Name, out.Namespace = d.Ref.Name, d.Ref.Namespace
	if out.Namespace == "" {
		out.Namespace = namespace
	}
	return out, nil
}

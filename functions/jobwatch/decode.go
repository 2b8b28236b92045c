package jobwatch

import (
	"encoding/json"

	ce "github.com/cloudevents/sdk-go/v2/event"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// notice is what an ApiServerSource's event says of a Job.
type notice struct {
	namespace, name string
	job             *batchv1.Job // nil where the event only refers to it
	deleted         bool
}

// decode reads an event. It returns nil for one that is not about a Job. The
// error is fault.Invalid.
func decode(e ce.Event) (*notice, error) {
	n := &notice{}
	whole := false
	switch e.Type() {
	case event.ResourceAdded, event.ResourceUpdated:
		whole = true
	case event.ResourceDeleted:
		whole, n.deleted = true, true
	case event.RefAdded, event.RefUpdated:
	case event.RefDeleted:
		n.deleted = true
	default:
		return nil, nil
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"` // of a reference
		Namespace  string `json:"namespace"`
		Metadata   struct{ Name, Namespace string }
	}
	if err := json.Unmarshal(e.Data(), &head); err != nil {
		return nil, fault.New("jobwatch: decode "+e.Type(), fault.Invalid, err)
	}
	if head.Kind != "Job" || head.APIVersion != batchv1.SchemeGroupVersion.String() {
		return nil, nil
	}
	n.namespace, n.name = head.Namespace, head.Name
	if whole {
		n.namespace, n.name, n.job = head.Metadata.Namespace, head.Metadata.Name, &batchv1.Job{}
		if err := json.Unmarshal(e.Data(), n.job); err != nil {
			return nil, fault.New("jobwatch: decode "+e.Type(), fault.Invalid, err)
		}
	}
	if n.name == "" || n.namespace == "" {
		return nil, errNoName
	}
	return n, nil
}

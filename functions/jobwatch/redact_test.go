package jobwatch

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/event"
)

// What an install prints of the pod's bait is named, not repeated.
func TestPrintedCanariesAreNamed(t *testing.T) {
	r := newRig(t)
	r.run(id, 1, nil)
	set := canary.New(canary.Derive(nil, string(id), 1))
	r.cluster.log = strings.Join(set.Env(), "\n") + "\n"
	j := r.job(id, 1, batchv1.JobComplete, "")
	r.ended(j, 0)
	r.must(r.hear(event.ResourceUpdated, j))
	if x := r.exits()[0]; len(set.Find([]byte(x.Log))) > 0 || !strings.Contains(x.Log, "NPM_TOKEN=[variable NPM_TOKEN, plain]") {
		t.Errorf("%q", x.Log)
	}
}

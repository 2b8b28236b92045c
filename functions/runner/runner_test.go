package runner_test

import (
	"testing"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

// The same Triggers serve this runner and the one that starts Jobs.
func TestWhatIsForTheOtherRunner(t *testing.T) {
	r := runner.New(runner.Deps{})
	for _, typ := range []string{event.SandboxExited, event.ScanRejected, event.RepoPush, event.Ping} {
		if reply, err := r.Handle(t.Context(), eventtest.Event(typ, "e")); reply != nil || err != nil {
			t.Errorf("%s: %v, %v", typ, reply, err)
		}
	}
}

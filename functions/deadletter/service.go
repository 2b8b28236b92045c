package deadletter

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// Service makes the function of its process's settings: NATS_URL, where letters
// are kept, and K_SINK, where the end of a scan that can't start is told.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	letters, err := New(d.Context, d.NATS, stream.Replicas(d.Replicas))
	if err != nil {
		return nil, err
	}
	return letters.Rejecting(d.Emitter, time.Now), nil
}

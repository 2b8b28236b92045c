// Command deadletter runs the dead-letter function as a service of its own.
package main

import (
	"time"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

func main() {
	serve.Main(deadletter.Name, func(d serve.Deps) (function.Handler, error) {
		if err := d.Require("NATS_URL", "K_SINK"); err != nil {
			return nil, err
		}
		letters, err := deadletter.New(d.Context, d.NATS, stream.Replicas(d.Replicas))
		if err != nil {
			return nil, err
		}
		return letters.Rejecting(d.Emitter, time.Now), nil
	})
}

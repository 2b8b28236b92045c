// Command deadletter runs the dead-letter function as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

func main() {
	serve.Main("deadletter", func(d serve.Deps) (function.Handler, error) {
		return deadletter.New(d.Context, d.NATS, stream.Replicas(d.Replicas))
	})
}

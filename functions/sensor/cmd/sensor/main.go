// Command sensor watches the scan pods of a node, as a DaemonSet.
package main

import (
	"github.com/falconer-sec/falconer/functions/sensor"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() {
	s := sensor.NewService()
	serve.MainHTTP(sensor.Name, s.Build, serve.Finish(s.Wait))
}

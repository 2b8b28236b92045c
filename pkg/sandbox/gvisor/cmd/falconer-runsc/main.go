// Command falconer-runsc is gVisor's runsc with Falconer's trace points, for the
// nodes of a cluster: containerd's shim for gVisor calls it in runsc's place.
package main

import (
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

func main() { runtime.Node(record.EnvNames) }

// Command runner runs scans in gVisor sandboxes, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() {
	runtime.Dispatch() // becomes gVisor when started under one of its names
	serve.Main(runner.Name, runner.Service, serve.Longest(runner.Longest))
}

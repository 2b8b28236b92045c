// Command falconer scans a project's third-party code by running it.
package main

import "github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"

func main() {
	runtime.Dispatch()
}

// Package runtime is gVisor inside our binary: the kernel that a sandbox runs
// on, extended by the trace points that stock gVisor lacks and by a sink that
// hands every observed event to the sensor.
//
// A program that imports this package calls Dispatch first in main. gVisor
// re-executes its own binary under other names (runsc-gofer, runsc-sandbox);
// Dispatch recognises those, becomes that process and never returns. A program
// that is nothing but a node's container runtime calls Node.
//
// The program must be built with CGO_ENABLED=0: a dynamically linked gVisor
// can't re-execute itself inside the sandbox's empty root.
package runtime

import (
	"os"
	"path/filepath"
	"strings"

	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
)

// Name is the name (argv[0]) under which the program is gVisor's runsc.
const Name = "runsc"

// Dispatch turns the process into gVisor if it was started under one of
// gVisor's names, and returns otherwise.
func Dispatch() {
	switch base := filepath.Base(os.Args[0]); {
	case strings.HasPrefix(base, Name):
	case base == "exe" && len(os.Args) > 1: // re-executed through /proc/self/exe
	default:
		return
	}
	moved := newTraffic()
	worn := newGuise(moved)
	worn.hook()
	extend()
	seccheck.RegisterSink(relayDesc(moved))
	seccheck.RegisterSink(holeDesc(moved))
	seccheck.RegisterSink(guiseDesc(worn))
	cli.Run(nil, map[util.SubCommand]string{
		new(cmd.Run):          "",
		new(cmd.Gofer):        "",
		new(sentrycmd.Boot):   "",
		new(sentrycmd.Umount): "",
	}, nil)
}

// extend adds our points and our sink to gVisor's.
func extend() {
	seccheck.Initialize()
	seccheck.RegisterSink(sinkDesc())
	registerPoints()
}

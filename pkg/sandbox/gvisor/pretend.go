package gvisor

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
)

// maxSkip is by how much a sandbox's clocks are put forward at most, in all:
// what waits for longer is stopped at the end, and said.
const maxSkip = 24 * time.Hour

// pretend has the kernel play a machine.
func pretend(m guest.Machine) *runtime.GuiseOptions {
	return &runtime.GuiseOptions{UptimeS: int64(m.Uptime.Seconds()), SkipS: int64(maxSkip.Seconds()), Disk: m.Disk, Layers: m.Layers}
}

// Package sandbox defines what runs an install and watches it. Drivers stand
// in folders below: gvisor (embedded), kubernetes (a Job).
//
// What every driver guarantees: nothing of the host but what Spec names is
// visible inside; no secret and no route go in except the registry socket;
// limits hold; and when Run returns, however it returns, nothing runs and
// nothing is mounted any more. What a driver could not watch or do it says in
// Report.Incomplete; it never stays silent.
package sandbox

import (
	"context"
	"net/http"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Limits bounds one run. Zero values mean the driver's defaults.
type Limits struct {
	Wall        time.Duration
	CPUs        float64
	MemoryBytes int64
	Processes   int
	DiskBytes   int64
	OutputBytes int64 // bytes of output kept; the rest is counted
}

// Spec is one run.
type Spec struct {
	ScanID   scan.ID
	Dir      string // host directory that holds the unpacked source; never written to
	Project  ecosystem.Project
	Manager  ecosystem.Manager
	CacheDir string // host directory with the manager's download cache, mounted read-only; "" for none
	// Prepared lists the packages that lie unpacked in Dir, if the Driver is a
	// Taker and the Manager prepared CacheDir for it.
	Prepared []ecosystem.Prepared
	// Import has packages loaded after the install, if the Manager can.
	Import bool
	// Canaries are the fake credentials to place and to look for; nil lets the
	// driver make its own.
	Canaries *canary.Set
	Registry http.Handler // the registry proxy: all that the sandbox can reach; nil for nothing
	Limits   Limits
	// Progress receives short lines for a human; it must not block. May be nil.
	Progress func(line string)
	// Evidence is a host directory where the driver leaves its records (full
	// output, alerts); "" for none.
	Evidence string
}

// Report is what a run showed.
type Report struct {
	Sandbox       finding.Sandbox
	Container     string // container ID
	Incomplete    []string
	SensorEvents  int64
	SensorDropped int64
	AlertsStored  int64
	AlertsCapped  int64
	OutputBytes   int64
	Log           string // tail of the output, valid UTF-8
}

// AlertSink stores alerts durably. Put blocks while the store is slow, which
// slows the sandbox down (back-pressure); an error means they are not stored.
type AlertSink interface {
	Put(ctx context.Context, id scan.ID, alerts []falco.Alert) error
}

// Taker is a Driver that can take Spec.Prepared over.
type Taker interface {
	Driver
	TakesPrepared() bool
}

// TakesPrepared reports whether d can take Spec.Prepared over.
func TakesPrepared(d Driver) bool {
	t, ok := d.(Taker)
	return ok && t.TakesPrepared()
}

// Equipped is a Driver that can tell beforehand what a recipe lacks here. The
// error is fault.Permanent, and says what to install.
type Equipped interface {
	Driver
	Equipped(r ecosystem.Recipe) error
}

// Driver runs a Spec to its end. An error means that there is no Report: the
// sandbox could not be set up (fault.Permanent where this machine can't run
// it, with what to do about it). Everything that happens after the start is in
// the Report, a killed sandbox included.
type Driver interface {
	Run(ctx context.Context, s Spec, alerts AlertSink) (Report, error)
}

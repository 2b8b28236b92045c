package runs

import (
	"fmt"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// MaxScripts bounds Run.InstallScripts, and MaxProblems Run.Problems: a record
// has to fit into a message of a NATS server with default settings.
const (
	MaxScripts  = 2000
	MaxProblems = 101
)

// Run is one attempt at a scan, as it is known before its Job exists.
type Run struct {
	Request      scan.Request `json:"request"`
	Attempt      int          `json:"attempt"` // from 1
	Job          string       `json:"job"`     // the Job's name
	Namespace    string       `json:"namespace"`
	RuntimeClass string       `json:"runtime_class,omitempty"` // "" is the cluster's default
	// Sensor says who watches: event.SensorGVisor or event.SensorFalco.
	Sensor   string `json:"sensor"`
	Packages int    `json:"packages"` // packages that the lockfile pins
	// InstallScripts are the packages with install scripts, MaxScripts at most.
	InstallScripts []finding.ScriptPackage `json:"install_scripts,omitempty"`
	// Problems are the lockfile's: each belongs into event.Exited.Incomplete.
	Problems []string  `json:"problems,omitempty"`
	Created  time.Time `json:"created"`
	// Deadline is when Kubernetes ends the Job, if it exists by Created.
	Deadline time.Time `json:"deadline"`
	// Cause is the ID of the event that asked for this attempt.
	Cause       string `json:"cause"`
	Traceparent string `json:"traceparent,omitempty"` // W3C trace context of that event
	Tracestate  string `json:"tracestate,omitempty"`
	// GivenUp says why the runner ended this attempt itself (a newer commit
	// took its place) and answered it with scan.rejected; "" if it did not.
	// Nobody waits for the sandbox.exited of such an attempt.
	GivenUp string `json:"given_up,omitempty"`
}

// bounded returns r with its lists cut to their limits, and a problem that says
// so.
func (r Run) bounded() Run {
	if n := len(r.InstallScripts); n > MaxScripts {
		r.InstallScripts = r.InstallScripts[:MaxScripts:MaxScripts]
		r.Problems = append(r.Problems[:len(r.Problems):len(r.Problems)],
			fmt.Sprintf("%d packages have install scripts, of which the first %d are listed", n, MaxScripts))
	}
	if n := len(r.Problems); n > MaxProblems {
		r.Problems = append(r.Problems[:MaxProblems-1:MaxProblems-1], fmt.Sprintf("%d more problems are not listed", n-MaxProblems+1))
	}
	return r
}

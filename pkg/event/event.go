// Package event defines Falconer's CloudEvents: their types, their data, and
// how they are made and read.
//
// Guarantees: an event's ID is deterministic (the same cause makes the same
// ID, so that a repeated emission is recognised), its dataschema names a JSON
// Schema embedded in this package, and its extensions are strings only
// (Knative's filters and Falcosidekick's headers know no other kind).
package event

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// The event types. See the README's event table for who produces and who
// consumes each.
const (
	RepoPush         = "dev.falconer.repo.push.v1"
	RepoMergeRequest = "dev.falconer.repo.merge_request.v1"
	ScanRequested    = "dev.falconer.scan.requested.v1"
	ScanStarted      = "dev.falconer.scan.started.v1"
	FalcoAlert       = "dev.falconer.falco.alert.v1"
	SandboxExited    = "dev.falconer.sandbox.exited.v1"
	ScanFinished     = "dev.falconer.scan.finished.v1"
	ScanAmended      = "dev.falconer.scan.amended.v1"
	ScanRejected     = "dev.falconer.scan.rejected.v1"
	RuntimeAlert     = "dev.falconer.runtime.alert.v1"
	// SensorReported comes from a sensor that runs apart from the sandbox.
	SensorReported = "dev.falconer.sensor.reported.v1"

	// FalcoRuleOutput is the type of the events that Falcosidekick sends.
	FalcoRuleOutput = "falco.rule.output.v1"
	// GitLabWebhook wraps a webhook delivery on its way into gitlabhook. It
	// never enters the broker.
	GitLabWebhook = "dev.falconer.gitlab.webhook.v1"
)

// ExtScanID is the extension that carries the scan ID, where one is known.
const ExtScanID = "scanid"

// ExtReused is the extension of a scan.finished that tells of a result from
// before: its value is the ID of the event that asked again.
const ExtReused = "reused"

// ExtTraceparent is the W3C trace context's extension (CloudEvents distributed
// tracing extension).
const ExtTraceparent = "traceparent"

// SchemaBase is the base of every dataschema URI.
const SchemaBase = "https://github.com/falconer-sec/falconer/schemas/"

var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/falconer-sec/falconer/event"))

// ID computes a deterministic event ID from an event type and the parts that
// identify its cause. Parts are length-prefixed.
func ID(typ string, parts ...string) string {
	b := fmt.Appendf(nil, "%d:%s", len(typ), typ)
	for _, p := range parts {
		b = fmt.Appendf(b, "%d:%s", len(p), p)
	}
	return uuid.NewSHA1(namespace, b).String()
}

// Source returns the CloudEvents source of one of our functions:
// "/falconer/<function>".
func Source(function string) string { return "/falconer/" + function }

// New makes an event with JSON data. The time is the caller's, so that clocks
// can be injected.
func New(typ, source, subject, id string, at time.Time, data any) (ce.Event, error) {
	e := ce.New()
	e.SetID(id)
	e.SetType(typ)
	e.SetSource(source)
	e.SetSubject(subject)
	e.SetTime(at)
	e.SetDataSchema(SchemaBase + typ + ".json")
	if err := e.SetData(ce.ApplicationJSON, data); err != nil {
		return ce.Event{}, fault.New("event: encode "+typ, fault.Permanent, err)
	}
	if err := e.Validate(); err != nil {
		return ce.Event{}, fault.New("event: make "+typ, fault.Permanent, err)
	}
	return e, nil
}

// Decode reads an event's JSON data into T. A mismatch is fault.Invalid.
func Decode[T any](e ce.Event) (T, error) {
	var v T
	if err := json.Unmarshal(e.Data(), &v); err != nil {
		return v, fault.New("event: decode data of "+e.Type()+" "+e.ID(), fault.Invalid, err)
	}
	return v, nil
}

// Extension returns a string extension, "" if absent or not a string.
func Extension(e ce.Event, name string) string {
	s, _ := e.Extensions()[name].(string)
	return s
}

// Caused copies the trace context and the scan ID from one event to the event
// that it causes.
func Caused(by ce.Event, e *ce.Event) {
	for _, name := range []string{ExtTraceparent, "tracestate", ExtScanID} {
		if s := Extension(by, name); s != "" && Extension(*e, name) == "" {
			e.SetExtension(name, s)
		}
	}
}

// Push is the data of RepoPush.
type Push struct {
	Provider  string   `json:"provider"` // "gitlab"
	ProjectID int64    `json:"project_id"`
	Project   string   `json:"project"` // path with namespace
	WebURL    string   `json:"web_url,omitempty"`
	Ref       string   `json:"ref"`
	Before    string   `json:"before"`
	After     string   `json:"after"`
	Changed   []string `json:"changed,omitempty"` // paths the push's commits touched; may be cut by the forge
	Commits   int      `json:"commits"`
	// DefaultBranch is the project's, without refs/heads/; "" if nobody said.
	DefaultBranch string    `json:"default_branch,omitempty"`
	Received      time.Time `json:"received"`
}

// MergeRequest is the data of RepoMergeRequest: a merge request that was opened,
// or whose source got new commits.
type MergeRequest struct {
	Provider  string    `json:"provider"` // "gitlab"
	ProjectID int64     `json:"project_id"`
	Project   string    `json:"project"` // path of the target project
	WebURL    string    `json:"web_url,omitempty"`
	IID       int64     `json:"iid"`              // number within the target project
	Source    string    `json:"source"`           // branch
	Target    string    `json:"target"`           // branch
	Head      string    `json:"head"`             // newest commit of the source; the target project has it, too
	Fork      string    `json:"fork,omitempty"`   // path of the source project, if that is another
	Action    string    `json:"action"`           // "open", "reopen", "update"
	Before    string    `json:"before,omitempty"` // head before an update
	Received  time.Time `json:"received"`
}

// Started is the data of ScanStarted.
type Started struct {
	Request scan.Request `json:"request"`
	Attempt int          `json:"attempt"`
	At      time.Time    `json:"at"`
	Sandbox string       `json:"sandbox"` // driver: "gvisor", "kubernetes", "seccomp"
	// Container is the sandbox's container ID, by which Falco knows it.
	Container string `json:"container,omitempty"`
	// Sensor says who watches: SensorGVisor, SensorFalco, or "" for the runner
	// itself, whose Exited then has the sensor's counts.
	Sensor string `json:"sensor,omitempty"`
}

// The values of Started.Sensor.
const (
	SensorGVisor = "gvisor" // our sensor on the node; its SensorReport is waited for
	SensorFalco  = "falco"  // Falco, which reports no end
)

// SensorReport is the data of SensorReported: what the sensor on a node saw of
// one attempt. Without it nobody can say that the attempt was watched to its
// end.
type SensorReport struct {
	ScanID       scan.ID `json:"scan_id"`
	Attempt      int     `json:"attempt"`
	Container    string  `json:"container,omitempty"` // ID of the container that was judged
	Node         string  `json:"node"`
	SensorEvents int64   `json:"sensor_events"`
	Dropped      int64   `json:"dropped"` // records that the sandbox's kernel could not deliver
	AlertsStored int64   `json:"alerts_stored"`
	AlertsCapped int64   `json:"alerts_capped"` // alerts beyond the sensor's limits
	// Lost says that the sensor did not watch to the end: it was stopped, or the
	// connection broke. Another attempt may fare better.
	Lost bool `json:"lost,omitempty"`
	// Incomplete lists what the sensor could not see or store, in plain words.
	Incomplete []string `json:"incomplete,omitempty"`
	// Outlived are the command lines of processes that were still running when
	// the first process ended.
	Outlived []string `json:"outlived,omitempty"`
	// Unwatched names the kinds of behaviour that the sandbox's kernel does not
	// report, so that no rule on them can match. A stated limit of the
	// installation, not a fault of this scan.
	Unwatched []string  `json:"unwatched,omitempty"`
	At        time.Time `json:"at"`
}

// Alerts is the data of FalcoAlert. It does not carry alerts, it says which
// stored ones are new: those of one scan (or one namespace/pod) with a stream
// sequence from First to Last.
type Alerts struct {
	ScanID  scan.ID `json:"scan_id,omitempty"`
	Subject string  `json:"subject"` // stream subject filter, e.g. "alerts.scan.<id>.>"
	First   uint64  `json:"first"`
	Last    uint64  `json:"last"`
	Count   int     `json:"count"`
	// Seqs lists the sequences where they are few enough (MaxSeqs), so that the
	// alerts can be fetched without a search.
	Seqs []uint64 `json:"seqs,omitempty"`
}

// MaxSeqs bounds Alerts.Seqs.
const MaxSeqs = 512

// Exited is the data of SandboxExited.
type Exited struct {
	Request scan.Request    `json:"request"`
	Attempt int             `json:"attempt"`
	At      time.Time       `json:"at"`
	Sandbox finding.Sandbox `json:"sandbox"`
	// Incomplete lists what this run could not check, in plain words.
	Incomplete     []string                `json:"incomplete,omitempty"`
	SensorEvents   int64                   `json:"sensor_events"`
	SensorDropped  int64                   `json:"sensor_dropped"`
	AlertsStored   int64                   `json:"alerts_stored"` // alerts the sensor stored for this scan
	AlertsCapped   int64                   `json:"alerts_capped"` // alerts beyond the sensor's limits
	OutputBytes    int64                   `json:"output_bytes"`
	Log            string                  `json:"log,omitempty"` // tail of the installer's output
	Packages       int                     `json:"packages"`
	InstallScripts []finding.ScriptPackage `json:"install_scripts,omitempty"`
	Fetches        []finding.Fetch         `json:"fetches,omitempty"`
}

// Rejected is the data of ScanRejected.
type Rejected struct {
	ScanID  scan.ID `json:"scan_id,omitempty"`
	Project string  `json:"project,omitempty"`
	Ref     string  `json:"ref,omitempty"`
	Commit  string  `json:"commit,omitempty"`
	Root    string  `json:"root,omitempty"`    // of the project within the source
	Manager string  `json:"manager,omitempty"` // package manager
	By      string  `json:"by"`                // the function that refused
	Cause   string  `json:"cause"`             // ID of the event that was refused
	Reason  string  `json:"reason"`
	// Nothing says that there is nothing in the source that could be scanned:
	// no reason to worry anybody.
	Nothing bool `json:"nothing,omitempty"`
}

// Refused makes the data of ScanRejected for a request that a function refuses.
func Refused(r scan.Request, by, cause, reason string) Rejected {
	return Rejected{ScanID: r.ID, Project: r.Project, Ref: r.Ref, Commit: r.Commit, Root: r.Root, Manager: r.Manager, By: by, Cause: cause, Reason: reason}
}

// Runtime is the data of RuntimeAlert: an alert that belongs to no scan.
type Runtime struct {
	AlertID string      `json:"alert_id"`
	Alert   falco.Alert `json:"alert"`
}

// Package finding holds what Falconer concludes: findings, their evidence, the
// verdict and the published result. It does no I/O.
//
// A verdict is a pure function of findings and of what could not be checked
// (see Judge). Nothing that ran in the sandbox is asked for its opinion.
package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// SchemaVersion is the version of the Result JSON. Fields are added in minor
// versions; a field is removed or changes meaning only in a major one.
const SchemaVersion = "1.1"

// Package names the third-party package that a finding belongs to.
type Package struct {
	PURL    string `json:"purl"` // package URL, e.g. "pkg:npm/left-pad@1.3.0"; "" when unattributed
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"` // where it is installed, relative to the project root
}

// Evidence is one observed occurrence of a finding.
type Evidence struct {
	Time         time.Time `json:"time"`
	ProcessChain []string  `json:"process_chain"` // command lines, outermost ancestor first, the acting process last
	CommandLine  string    `json:"command_line"`
	Syscall      string    `json:"syscall,omitempty"`
	File         string    `json:"file,omitempty"`
	Address      string    `json:"address,omitempty"` // "ip:port" of the other side
	Network      Network   `json:"network,omitzero"`  // what was said to that address, where it was heard
	Output       string    `json:"output,omitempty"`  // the rule's own message
	AlertID      string    `json:"alert_id"`          // content digest of the alert
}

// Finding is one thing a package did that a rule objects to. Repetitions are
// one finding with a Count.
type Finding struct {
	ID         string   `json:"id"` // stable across scans: rule, package, phase, script and detail
	Rule       string   `json:"rule"`
	Priority   Priority `json:"priority"`
	Behaviours []string `json:"behaviours"`
	Techniques []string `json:"techniques,omitempty"` // MITRE ATT&CK IDs
	Package    Package  `json:"package"`
	Phase      string   `json:"phase"`  // "install", "import", or "" when unknown
	Script     string   `json:"script"` // lifecycle script, e.g. "postinstall"; "" outside one
	// Detail is what tells findings of one rule and package apart: "file:PATH" or
	// "address:HOST:PORT", what varies from scan to scan replaced by "*".
	Detail string `json:"detail,omitempty"`
	// Claimed says that package and script are only what the process's
	// environment names, which a process can change: a hint, no proof.
	Claimed bool `json:"claimed,omitempty"`
	// Baseline compares with the baseline; "" where there is none.
	Baseline State `json:"baseline,omitempty"`
	// Previous is the package whose version had this finding in the baseline, where
	// that version is gone: the finding is new all the same, its code is.
	Previous   string     `json:"previous,omitempty"`
	Suppressed Suppressed `json:"suppressed,omitzero"`
	Summary    string     `json:"summary"`
	Count      int64      `json:"count"`
	Evidence   []Evidence `json:"evidence"` // the first occurrences, at most MaxEvidence
}

// MaxEvidence bounds the evidence kept per finding.
const MaxEvidence = 5

// MaxFindings bounds the findings kept per scan; more are counted, not kept.
const MaxFindings = 1000

// Fingerprint computes a finding's ID from the parts that make it the same
// finding in the next scan.
func Fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(h, strconv.Itoa(len(p))+":"+p) // a hash never fails to write
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Counts accounts for every alert and sensor event of a scan.
type Counts struct {
	Alerts        int64 `json:"alerts"`         // distinct alerts joined to this scan
	Duplicates    int64 `json:"duplicates"`     // alerts received again and dropped
	Capped        int64 `json:"capped"`         // alerts beyond the per-rule limit: counted, not kept
	SensorEvents  int64 `json:"sensor_events"`  // system-call records the sensor read
	SensorDropped int64 `json:"sensor_dropped"` // records the sandbox could not deliver
	Findings      int64 `json:"findings"`
	OutputBytes   int64 `json:"output_bytes"` // bytes the installer wrote, kept or not
}

// ScriptPackage is a package that has install scripts.
type ScriptPackage struct {
	Package
	Scripts []string `json:"scripts,omitempty"` // lifecycle events, where the manifest was seen
}

// Fetch is one artifact that came through the registry proxy.
type Fetch struct {
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
	Size      int64  `json:"size"` // bytes
	Integrity string `json:"integrity,omitempty"`
	Cached    bool   `json:"cached"`
	Refused   string `json:"refused,omitempty"` // why the request was not served
}

// Sandbox describes what isolated the scan.
type Sandbox struct {
	Kind      string `json:"kind"`      // "gvisor", "seccomp" (weaker), "kubernetes"
	Isolation string `json:"isolation"` // plain words: what it isolates and what it doesn't
	ExitCode  int    `json:"exit_code"`
	Reason    string `json:"reason"` // "completed", "failed", "timeout", "killed", "lost", "limit"
	Detail    string `json:"detail,omitempty"`
	// Unpacked is how many packages were verified and unpacked before the sandbox
	// began; the package manager unpacked the others in it.
	Unpacked int `json:"unpacked,omitempty"`
	// Imports is what became of loading packages after the install; nil if none
	// was to be loaded, or nobody could tell.
	Imports *Imports `json:"imports,omitempty"`
}

// Result is the published outcome of a scan.
type Result struct {
	SchemaVersion string   `json:"schema_version"`
	ScanID        scan.ID  `json:"scan_id"`
	Revision      int      `json:"revision"` // 1 for scan.finished, higher after each amendment
	Verdict       Verdict  `json:"verdict"`
	Reasons       []string `json:"reasons"`    // why this verdict, most important first
	Incomplete    []string `json:"incomplete"` // what could not be checked
	// Unwatched says what no scan in this installation shows, by the runtime that
	// its sandboxes run on: a limit that is known beforehand, not this scan's.
	Unwatched      []string        `json:"unwatched,omitempty"`
	Project        string          `json:"project"`
	Ref            string          `json:"ref,omitempty"`
	Commit         string          `json:"commit,omitempty"`
	Root           string          `json:"root"`
	Manager        string          `json:"manager"`
	Lockfile       string          `json:"lockfile"`
	Rules          string          `json:"rules"`
	Recipe         string          `json:"recipe"`
	Started        time.Time       `json:"started"`
	Finished       time.Time       `json:"finished"`
	Sandbox        Sandbox         `json:"sandbox"`
	Findings       []Finding       `json:"findings"`
	Counts         Counts          `json:"counts"`
	Packages       int             `json:"packages"` // packages the lockfile pins
	InstallScripts []ScriptPackage `json:"install_scripts"`
	Fetches        []Fetch         `json:"fetches"`
	Excluded       []string        `json:"excluded"`      // source files withheld from the sandbox
	Log            string          `json:"log,omitempty"` // tail of the installer's output

	Baseline     Baseline      `json:"baseline,omitzero"`      // the scan compared with; zero for none
	Gone         []Gone        `json:"gone,omitempty"`         // findings of the baseline that this scan has not
	Suppressions []Suppression `json:"suppressions,omitempty"` // what people vouched for, and what became of it
	Notes        []string      `json:"notes,omitempty"`        // what to know of baseline and suppressions, in plain words
}

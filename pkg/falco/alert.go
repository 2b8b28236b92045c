// Package falco holds Falco's alert as Falconer sees it: the type, a decoder
// that tolerates what real Falcosidekick versions send, the content digest by
// which repetitions are recognised, and the scan an alert belongs to.
//
// Every byte of an alert may have been chosen by an attacker (a process names
// itself): values are data, never format strings, paths or markup.
package falco

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Alert is one Falco rule output, in Falco's JSON field names
// (https://falco.org/docs/concepts/outputs/formatting/).
type Alert struct {
	Output   string           `json:"output"`
	Priority finding.Priority `json:"priority"`
	Rule     string           `json:"rule"`
	Time     time.Time        `json:"time"`
	Source   string           `json:"source,omitempty"`
	Hostname string           `json:"hostname,omitempty"`
	Tags     []string         `json:"tags,omitempty"`
	// Fields holds the output fields. Numbers are json.Number, so that values
	// above 2^53 (evt.time) survive.
	Fields map[string]any `json:"output_fields"`
}

// FieldPrefix starts the names of the output fields of Falconer's own sensor.
const FieldPrefix = "falconer."

// Output fields of Falconer's own sensor, beside Falco's. They are set by
// trusted code from the process table, not from what a process says.
const (
	FieldScanID  = "falconer.scan_id"
	FieldPackage = "falconer.package" // purl
	FieldPath    = "falconer.path"    // install path of the package, relative to the project root
	FieldScript  = "falconer.script"  // lifecycle script
	FieldPhase   = "falconer.phase"   // "install"
	FieldDesc    = "falconer.desc"    // the rule's description
	FieldChain   = "falconer.chain"   // []string, command lines, outermost first

	// What a process said to the sandbox's sinkhole, every byte its own choice.
	FieldNetProtocol   = "falconer.net.protocol"    // "dns", "http", "https", "tls", "tcp", "udp"
	FieldNetName       = "falconer.net.name"        // host name that the address was looked up by, or that was asked for
	FieldNetSNI        = "falconer.net.sni"         // server name in the TLS hello
	FieldNetRequest    = "falconer.net.request"     // "POST https://host/path", or type and name of a DNS query
	FieldNetHeaders    = "falconer.net.headers"     // []string, header lines
	FieldNetFirstBytes = "falconer.net.first_bytes" // base64, behind the head of a request
	FieldNetSent       = "falconer.net.sent"        // bytes in all
	FieldNetRefused    = "falconer.net.tls_refused" // why the client took no TLS connection

	// A planted credential by name, how it was taken, in which encoding.
	FieldCanary      = "falconer.canary"
	FieldCanaryWhere = "falconer.canary.where"
	FieldCanaryForm  = "falconer.canary.form"
)

// MarkerEnv is the environment variable that carries the scan ID into the
// sandbox; every child inherits it, and Falco shows it as
// proc.env[FALCONER_SCAN_ID] where a rule lists that field.
const MarkerEnv = "FALCONER_SCAN_ID"

// BehaviourTag prefixes the rule tags that name a behaviour, e.g.
// "behaviour:credential-read".
const BehaviourTag = "behaviour:"

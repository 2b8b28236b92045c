package alerts

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Subjects:
//
//	alerts.scan.<scan ID>.<rule key>
//	alerts.other.<namespace>.<pod>.<rule key>
//
// A rule key is a hash, and namespace and pod are hashed where they are not
// plain names: an alert's text never becomes a wildcard or a further token.
const (
	subjectAll   = "alerts.>"
	subjectScan  = "alerts.scan."
	subjectOther = "alerts.other."
	cappedAll    = "alerts-capped.>"
	cappedScan   = "alerts-capped.scan."
	cappedOther  = "alerts-capped.other."
)

// ScanSubject returns the filter that matches the alerts of one scan.
func ScanSubject(id scan.ID) string { return subjectScan + string(id) + ".>" }

// OtherSubject returns the filter that matches the alerts of one pod that
// belong to no scan.
func OtherSubject(namespace, pod string) string {
	return subjectOther + token(namespace) + "." + token(pod) + ".>"
}

// subjectOf returns where an alert is stored and whose it is: of the scan, if the
// caller knows it, or of the one that the alert names. Scans run in sandboxes.
func subjectOf(a falco.Alert, id scan.ID, sandboxes string) string {
	if id == "" {
		id, _ = a.ScanIn(sandboxes)
	}
	if id != "" {
		return subjectScan + string(id) + "." + ruleKey(a.Rule)
	}
	namespace, pod := a.Pod()
	return subjectOther + token(namespace) + "." + token(pod) + "." + ruleKey(a.Rule)
}

// groupOf returns the filter over all rules for a stored alert's subject, and
// the scan it belongs to, "" for none.
func groupOf(subject string) (filter string, id scan.ID) {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 {
		return subject, ""
	}
	if rest, ok := strings.CutPrefix(subject[:i], subjectScan); ok {
		id = scan.ID(rest)
	}
	return subject[:i] + ".>", id
}

func ruleKey(rule string) string {
	sum := sha256.Sum256([]byte(rule))
	return hex.EncodeToString(sum[:6])
}

// token makes a subject token of a name: the name itself if it is a Kubernetes
// name without dots, a hash behind "_" otherwise, "_" for none.
func token(s string) string {
	if s == "" {
		return "_"
	}
	plain := len(s) <= 63 && strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}) < 0
	if plain {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "_" + hex.EncodeToString(sum[:8])
}

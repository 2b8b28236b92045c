package finding

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Verdict is the answer a scan ends in.
type Verdict string

// The four verdicts. Their order of severity, worst first, is Malicious,
// Inconclusive, Suspicious, Clean: a scan that could not see everything may
// hide something worse than what it saw, but proof of malice stands.
const (
	Clean        Verdict = "clean"
	Suspicious   Verdict = "suspicious"
	Malicious    Verdict = "malicious"
	Inconclusive Verdict = "inconclusive"
)

// ExitCode is the process exit code that `falconer scan` maps a verdict to:
// 0 clean, 1 suspicious, 2 malicious, 3 inconclusive.
func (v Verdict) ExitCode() int {
	switch v {
	case Clean:
		return 0
	case Suspicious:
		return 1
	case Malicious:
		return 2
	default:
		return 3
	}
}

var severity = map[Verdict]int{Clean: 0, Suspicious: 1, Inconclusive: 2, Malicious: 3}

// Worst returns the more severe of two verdicts; "" counts as none.
func Worst(a, b Verdict) Verdict {
	if a == "" || (b != "" && severity[b] > severity[a]) {
		return b
	}
	return a
}

// Priority is a Falco rule priority. Lower values are more urgent, as in
// syslog (RFC 5424, section 6.2.1).
type Priority uint8

// Falco's priorities, most urgent first.
const (
	Emergency Priority = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorities = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

// String returns the priority as Falco writes it.
func (p Priority) String() string {
	if int(p) < len(priorities) {
		return priorities[p]
	}
	return fmt.Sprintf("Priority(%d)", uint8(p))
}

// ParsePriority reads a priority in any letter case, including the short forms
// Falco accepts ("info").
func ParsePriority(s string) (Priority, error) {
	if strings.EqualFold(s, "info") {
		return Informational, nil
	}
	for i, name := range priorities {
		if strings.EqualFold(s, name) {
			return Priority(i), nil
		}
	}
	return 0, fmt.Errorf("unknown priority %.40q: want one of %s", s, strings.Join(priorities[:], ", "))
}

// MarshalJSON writes the priority's name.
func (p Priority) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// UnmarshalJSON reads a priority's name.
func (p *Priority) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := ParsePriority(s)
	if err != nil {
		return err
	}
	*p = v
	return nil
}

// Judge derives the verdict and the reasons for it from a scan's findings and
// from the list of what could not be checked.
//
//   - a finding of priority Critical or worse: malicious, known or not
//   - else, anything that could not be checked: inconclusive
//   - else, a finding of priority Warning or Error that is not known: suspicious
//   - else clean; Notice and below are reported, not judged
//
// A suppressed finding does not count (see Finding.Weighs). How many did not is
// the last of the reasons.
func Judge(findings []Finding, incomplete []string) (Verdict, []string) {
	verdict := Clean
	var proof, doubts []string
	known, suppressed := 0, 0
	for _, f := range findings {
		switch {
		case f.Priority > Warning:
		case f.Suppressed.Owner != "":
			suppressed++
		case !f.Weighs():
			known++
		case f.Priority <= Critical:
			proof = append(proof, f.Headline())
		default:
			doubts = append(doubts, f.Headline())
		}
	}
	switch {
	case len(proof) > 0:
		verdict = Malicious
	case len(incomplete) > 0:
		verdict = Inconclusive
	case len(doubts) > 0:
		verdict = Suspicious
	}
	reasons := append(append(proof, incomplete...), doubts...)
	if verdict == Clean {
		reasons = []string{"no rule of priority Warning or above matched, and nothing was left unchecked"}
		if known+suppressed > 0 {
			reasons[0] = "no finding of priority Warning or above that weighs, and nothing was left unchecked"
		}
	}
	return verdict, append(reasons, unweighed(known, suppressed)...)
}

// unweighed says what did not count.
func unweighed(known, suppressed int) (reasons []string) {
	if known > 0 {
		reasons = append(reasons, fmt.Sprintf("known from the baseline, and not weighed: %d", known))
	}
	if suppressed > 0 {
		reasons = append(reasons, fmt.Sprintf("suppressed, and not weighed: %d", suppressed))
	}
	return reasons
}

// Headline is one line that names the rule, the package and the script.
func (f Finding) Headline() string {
	who := f.Package.PURL
	if who == "" {
		who = "unattributed"
	}
	if f.Script != "" {
		who += " (" + f.Script + ")"
	}
	if f.Baseline == Known {
		return who + ": " + f.Rule + " (known, and neither fixed nor suppressed)"
	}
	return who + ": " + f.Rule
}

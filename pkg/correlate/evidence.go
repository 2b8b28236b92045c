package correlate

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// evidenceOf takes from an alert what a person needs to judge it.
func evidenceOf(a falco.Alert, digest string) finding.Evidence {
	return finding.Evidence{
		Time: a.Time, ProcessChain: chainOf(a), CommandLine: cut(commandLine(a), maxText),
		Syscall: cut(a.Field("evt.type"), maxElement), File: cut(fileOf(a), maxText),
		Address: cut(addressOf(a), maxElement), Output: cut(a.Output, maxText), AlertID: digest,
		Network: networkOf(a),
	}
}

func commandLine(a falco.Alert) string {
	return first(a.Field("proc.cmdline"), a.Field("proc.exepath"), a.Field("proc.name"))
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// chainOf returns the command lines from the outermost ancestor known to the
// acting process: the sensor's chain, or what Falco's fields show of it.
func chainOf(a falco.Alert) []string {
	chain := a.List(falco.FieldChain)
	if len(chain) == 0 {
		for n := maxChain; n >= 1; n-- {
			i := "[" + strconv.Itoa(n) + "]"
			s := first(a.Field("proc.acmdline"+i), a.Field("proc.aname"+i))
			if n == 1 {
				s = first(a.Field("proc.pcmdline"), s, a.Field("proc.pname"))
			}
			if s != "" {
				chain = append(chain, s)
			}
		}
		if s := commandLine(a); s != "" {
			chain = append(chain, s)
		}
	}
	if over := len(chain) - maxChain; over > 0 { // the ancestors farthest from the root name the cause
		chain = chain[over:]
	}
	out := make([]string, len(chain))
	for i, s := range chain {
		out[i] = cut(s, maxElement)
	}
	return out
}

// fileOf returns the file that the alert is about, if it is about one.
func fileOf(a falco.Alert) string {
	for _, name := range []string{"fd.name", "fs.path.name", "fs.path.target", "evt.arg.path", "evt.arg.name", "evt.arg.pathname", "evt.arg.filename"} {
		if s := a.Field(name); strings.HasPrefix(s, "/") || strings.HasPrefix(s, "memfd:") {
			return s
		}
	}
	if t := a.Field("evt.type"); strings.HasPrefix(t, "exec") {
		return a.Field("proc.exepath")
	}
	return ""
}

// addressOf returns the other side of a connection as "host:port". fd.name is
// asked first: Falco swaps the ports of its other fields on loopback.
func addressOf(a falco.Alert) string {
	name := a.Field("fd.name")
	if _, remote, ok := strings.Cut(name, "->"); ok {
		name = remote
	}
	if _, err := netip.ParseAddrPort(name); err == nil {
		return name
	}
	host := first(a.Field("fd.rip"), a.Field("fd.sip"))
	if host == "" {
		return ""
	}
	if port := first(a.Field("fd.rport"), a.Field("fd.sport")); port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

var (
	numbers = regexp.MustCompile(`[0-9]{4,}`)
	process = regexp.MustCompile(`^/proc/[0-9]+(/task/[0-9]+)?`)
	random  = regexp.MustCompile(`[0-9a-fA-F]{8,}`)
)

// detailOf returns what tells two findings of one rule and package apart and
// stays the same in the next scan: the file without process IDs and random
// parts of names, or the port of a service by name. An IP address is no part
// of it, a service moves.
func detailOf(e finding.Evidence, a falco.Alert) string {
	if e.File != "" {
		s := process.ReplaceAllString(e.File, "/proc/*")
		s = random.ReplaceAllStringFunc(s, func(m string) string {
			if strings.ContainsAny(m, "0123456789") {
				return "*"
			}
			return m
		})
		return "file:" + numbers.ReplaceAllString(s, "*")
	}
	if e.Address != "" {
		_, port, err := net.SplitHostPort(e.Address)
		if n, _ := strconv.Atoi(port); err != nil || n >= firstEphemeral {
			port = "*"
		}
		return "address:" + hostOf(cut(first(a.Field("fd.rip.name"), a.Field("fd.sip.name")), maxElement)) + ":" + port
	}
	return ""
}

// hostOf is a host's name without the parts that may be another in the next
// scan: data goes out in names, too.
func hostOf(name string) string {
	labels := strings.Split(name, ".")
	for i, l := range labels {
		if len(l) > maxLabel || random.MatchString(l) && strings.ContainsAny(l, "0123456789") || numbers.MatchString(l) {
			labels[i] = "*"
		}
	}
	return strings.Join(labels, ".")
}

// maxLabel is the length of the longest part of a name that a person chose.
const maxLabel = 24

// firstEphemeral is where Linux starts to hand out ports by itself.
const firstEphemeral = 32768

var technique = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)

// labelsOf splits a rule's tags into behaviours and MITRE ATT&CK techniques.
func labelsOf(tags []string) (behaviours, techniques []string) {
	for _, t := range tags {
		switch b, ok := strings.CutPrefix(t, falco.BehaviourTag); {
		case ok && b != "":
			behaviours = append(behaviours, cut(b, maxElement))
		case technique.MatchString(t):
			techniques = append(techniques, t)
		}
	}
	return behaviours, techniques
}

// union merges sorted sets, up to maxBehaviours entries.
func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	slices.Sort(a)
	return a[:min(len(a), maxBehaviours)]
}

// prefix is how Falco starts an output: the time and the priority.
var prefix = regexp.MustCompile(`^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?: [A-Z][a-z]+ `)

// summaryOf is the rule's message without the time that Falco puts before it.
func summaryOf(output, rule string) string {
	return first(prefix.ReplaceAllString(output, ""), rule)
}

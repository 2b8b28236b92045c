package suppress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Apply marks the findings that somebody vouched for, in place, as of a time, and
// returns what became of each suppression. fetches say which content a package
// had. What was marked before is marked anew.
func Apply(list []scan.Suppression, findings []finding.Finding, fetches []finding.Fetch, at time.Time) []finding.Suppression {
	for i := range findings {
		findings[i].Suppressed = finding.Suppressed{}
	}
	if len(list) == 0 {
		return nil
	}
	subjects := subjectsOf(findings, fetches)
	out := make([]finding.Suppression, len(list))
	for n, s := range list {
		out[n] = apply(s, findings, subjects, at)
	}
	return out
}

// subject is a finding as suppressions see it.
type subject struct {
	pkg, version string // "" where no suppression may match
	integrity    []string
}

func subjectsOf(findings []finding.Finding, fetches []finding.Fetch) []subject {
	contents := map[string][]string{}
	for _, f := range fetches {
		if f.Refused == "" && f.Version != "" && f.Integrity != "" {
			k := f.Name + "@" + f.Version
			contents[k] = append(contents[k], f.Integrity)
		}
	}
	out := make([]subject, len(findings))
	for i, f := range findings {
		if f.Claimed || f.Package.PURL == "" {
			continue // a process may claim to be any package
		}
		pkg, version, err := Canonical(f.Package.PURL)
		if err != nil || version == "" {
			continue
		}
		out[i] = subject{pkg: pkg, version: version, integrity: contents[f.Package.Name+"@"+version]}
	}
	return out
}

// is reports whether everything that was fetched as the package is this content.
func (s subject) is(integrity string) bool {
	for _, have := range s.integrity {
		if !slices.Contains(strings.Fields(have), integrity) {
			return false
		}
	}
	return len(s.integrity) > 0
}

// apply applies one suppression.
func apply(s scan.Suppression, findings []finding.Finding, subjects []subject, at time.Time) finding.Suppression {
	out := finding.Suppression{Suppression: s, Effect: finding.Unused}
	var set versions
	if s.Version != "" {
		var err error
		if set, err = rangeOf(s.Package, s.Version); err != nil {
			out.Effect, out.Void = finding.Void, cmp.Or(s.Void, "its version range could not be read")
			return out
		}
	}
	if s.Void == "" && (s.Owner == "" || s.Reason == "") {
		s.Void = "nobody vouches for it"
	}
	out.Void = s.Void
	counts := s.Void == "" && !Expired(s, at)
	var matched []finding.Finding
	for i, f := range findings {
		if !matches(s, set, f, subjects[i]) {
			continue
		}
		matched = append(matched, f)
		if counts && f.Suppressed == (finding.Suppressed{}) {
			findings[i].Suppressed = finding.Suppressed{Owner: s.Owner, Reason: s.Reason, Expires: s.Expires, Source: s.Source, Line: s.Line}
		}
	}
	out.Findings = len(matched)
	switch {
	case s.Void != "":
		out.Effect = finding.Void
	case !counts:
		out.Effect = finding.Expired
	case len(matched) > 0:
		out.Effect = finding.Applied
		out.Broad = broad(s, set, matched)
	}
	return out
}

func matches(s scan.Suppression, set versions, f finding.Finding, of subject) bool {
	return of.pkg != "" && of.pkg == s.Package && f.Rule == s.Rule && (s.Detail == "" || s.Detail == f.Detail) &&
		(s.Version == "" || set.has(of.version)) && (s.Integrity == "" || of.is(s.Integrity))
}

// broad says in what a suppression covers more than one behaviour of the code that
// somebody looked at, "" if it does not.
func broad(s scan.Suppression, set versions, matched []finding.Finding) string {
	versions, details := map[string]bool{}, map[string]bool{}
	for _, f := range matched {
		versions[f.Package.PURL], details[f.Detail] = true, true
	}
	var why []string
	loose := s.Integrity == "" && set.several()
	if s.Integrity == "" && set.open() {
		why = append(why, "its versions have no upper end: it covers code that nobody has seen yet")
	}
	if n := len(versions); n > 1 {
		why = append(why, fmt.Sprintf("it matches %d versions", n))
	}
	switch n := len(details); {
	case s.Detail != "":
	case n > 1:
		why = append(why, fmt.Sprintf("it names no detail, and matches %d different ones", n))
	case loose && matched[0].Detail != "":
		why = append(why, "it names no detail: another version may do something else under the same rule")
	}
	return strings.Join(why, "; ")
}

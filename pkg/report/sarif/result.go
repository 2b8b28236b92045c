package sarif

import (
	"fmt"
	"math"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// result renders an issue. It points to the lockfile's first line: the sandbox
// can't tell which one pins the package.
func result(i dossier.Issue, s dossier.Scan, ruleIndex int) *sarif.Result {
	place := sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewArtifactLocation().WithURI(uri(s.File))).WithRegion(sarif.NewRegion().WithStartLine(1))
	pkg := sarif.NewLogicalLocation().WithName(i.Package.Name).WithFullyQualifiedName(i.Package.Key()).WithKind("package")
	r := sarif.NewResult().WithRuleID(i.Rule).WithRuleIndex(ruleIndex).WithLevel(level(i.Priority)).WithMessage(message(headline(i))).
		WithOccurrenceCount(int(min(i.Count, math.MaxInt32))).WithGuID(i.ID)
	r.WithFingerprints(map[string]string{fingerprint: i.ID}).WithPartialFingerprints(map[string]string{fingerprint: i.ID})
	r.AddLocation(sarif.NewLocation().WithPhysicalLocation(place).AddLogicalLocation(pkg))
	if i.Suppressed != "" {
		r.AddSuppression(sarif.NewSuppression().WithKind("external").WithStatus("accepted").WithJustification(i.Suppressed))
	}
	r.WithProperties(properties(i))
	return r
}

// headline is the message: a first sentence that stands alone, then the first
// occurrence.
func headline(i dossier.Issue) string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(i.Package.Name+"@"+i.Package.Version, "@"))
	if len(i.Scripts) > 0 {
		b.WriteString(" (" + strings.Join(i.Scripts, ", ") + ")")
	}
	b.WriteString(": " + i.Rule + ".")
	if i.Claimed {
		b.WriteString(" The package is what the process itself named: a hint, no proof.")
	}
	if i.Summary != "" {
		b.WriteString(" " + i.Summary)
	}
	if len(i.Evidence) > 0 {
		e := i.Evidence[0]
		for _, part := range [][2]string{{"Command", e.Command}, {"File", e.File}, {"Address", e.Address}} {
			if part[1] != "" {
				fmt.Fprintf(&b, " %s: %s.", part[0], part[1])
			}
		}
	}
	return b.String()
}

// properties is the evidence as data.
func properties(i dossier.Issue) *sarif.PropertyBag {
	bag := sarif.NewPropertyBag().Add("falconer/purl", i.Package.PURL).Add("falconer/behaviours", i.Behaviours).Add("falconer/priority", i.Priority.String()).
		Add("falconer/findings", i.Findings).Add("falconer/scripts", i.Scripts).Add("falconer/claimed", i.Claimed)
	var list []map[string]any
	for _, e := range i.Evidence {
		one := map[string]any{"command": e.Command, "chain": e.Chain, "file": e.File, "address": e.Address, "syscall": e.Syscall, "output": e.Output}
		if e.Said != "" {
			one["said"] = e.Said
		}
		if !e.Time.IsZero() {
			one["time"] = clock(e.Time)
		}
		list = append(list, one)
	}
	return bag.Add("falconer/evidence", list)
}

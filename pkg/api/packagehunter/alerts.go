package packagehunter

import (
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// FieldCount is the output field with how often a finding occurred, where that
// is more often than there are alerts of it.
const FieldCount = falco.FieldPrefix + "count"

// alerts returns a result's findings as the alerts that they come from, the
// occurrences that are kept of each. Never nil.
func alerts(r finding.Result) []falco.Alert {
	out := []falco.Alert{}
	for _, f := range r.Findings {
		for i, e := range f.Evidence {
			a := alert(r, f, e)
			if i == len(f.Evidence)-1 && f.Count > int64(len(f.Evidence)) {
				a.Fields[FieldCount] = f.Count
			}
			out = append(out, a)
		}
		if len(f.Evidence) == 0 { // none was kept: it happened all the same
			out = append(out, alert(r, f, finding.Evidence{Time: r.Finished}))
		}
	}
	return out
}

func alert(r finding.Result, f finding.Finding, e finding.Evidence) falco.Alert {
	a := falco.Alert{Output: e.Output, Priority: f.Priority, Rule: f.Rule, Time: e.Time, Source: "syscall", Fields: map[string]any{falco.FieldScanID: string(r.ScanID)}}
	if a.Output == "" {
		a.Output = f.Summary
	}
	for _, b := range f.Behaviours {
		a.Tags = append(a.Tags, falco.BehaviourTag+b)
	}
	a.Tags = append(a.Tags, f.Techniques...)
	name := e.File
	if name == "" {
		name = e.Address
	}
	parent := ""
	if n := len(e.ProcessChain); n > 1 {
		parent = e.ProcessChain[n-2]
	}
	process, _, _ := strings.Cut(e.CommandLine, " ")
	for field, value := range map[string]string{
		"evt.type": e.Syscall, "fd.name": name, "proc.cmdline": e.CommandLine, "proc.pcmdline": parent, "proc.name": process[strings.LastIndexByte(process, '/')+1:],
		falco.FieldPackage: f.Package.PURL, falco.FieldPath: f.Package.Path, falco.FieldScript: f.Script, falco.FieldPhase: f.Phase,
	} {
		if value != "" {
			a.Fields[field] = value
		}
	}
	return a
}

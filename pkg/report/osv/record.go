package osv

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ossf/osv-schema/bindings/go/osvconstants"
	"github.com/ossf/osv-schema/bindings/go/osvschema"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab/markdown"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// unassigned begins the ID of a report that the database of malicious packages
// has given none yet.
const unassigned = "MAL-0000-falconer-"

// ecosystem is OSV's name of a purl type's public registry, "" if it has none.
func ecosystem(kind string) osvconstants.Ecosystem {
	switch kind {
	case "npm":
		return osvconstants.EcosystemNPM
	case "pypi":
		return osvconstants.EcosystemPyPI
	case "gem":
		return osvconstants.EcosystemRubyGems
	case "golang":
		return osvconstants.EcosystemGo
	case "cargo":
		return osvconstants.EcosystemCratesIO
	case "maven":
		return osvconstants.EcosystemMaven
	case "composer":
		return osvconstants.EcosystemPackagist
	case "nuget":
		return osvconstants.EcosystemNuGet
	case "hex":
		return osvconstants.EcosystemHex
	case "pub":
		return osvconstants.EcosystemPub
	}
	return ""
}

// accused is a package with its proven issues.
type accused struct {
	eco     osvconstants.Ecosystem
	name    string
	pkg     dossier.Package
	issues  []dossier.Issue
	at      time.Time // end of the latest scan that saw it
	rules   string
	recipes string
}

// Records makes the records, and lists proven findings that have none. What
// somebody vouched for is neither.
func Records(d dossier.Dossier) ([]*osvschema.Vulnerability, []Unnamed) {
	index := map[string]int{}
	var list []accused
	unnamed := []Unnamed{}
	for _, i := range d.Issues {
		if i.Priority > finding.Critical || i.Suppressed != "" {
			continue
		}
		kind, name, registry := i.Package.Registry()
		eco := ecosystem(kind)
		if reason := doubt(i, registry && eco != ""); reason != "" {
			unnamed = append(unnamed, Unnamed{i.Package.Key(), i.Rule, reason})
			continue
		}
		n, known := index[i.Package.PURL]
		if !known {
			n = len(list)
			index[i.Package.PURL] = n
			list = append(list, accused{eco: eco, name: name, pkg: i.Package})
		}
		s := d.Scans[i.Scan]
		list[n].issues, list[n].rules, list[n].recipes = append(list[n].issues, i), s.Rules, s.Recipe
		if s.End.After(list[n].at) {
			list[n].at = s.End
		}
	}
	var out []*osvschema.Vulnerability
	for _, a := range list {
		out = append(out, record(a))
	}
	return out, unnamed
}

// doubt says why a finding accuses nobody, "" if it does.
func doubt(i dossier.Issue, registry bool) string {
	switch {
	case !i.Package.Named():
		return "no package could be named"
	case i.Claimed:
		return "the package is only what the process itself named"
	case !registry:
		return "the package is not one of a public registry that OSV knows"
	}
	return ""
}

// record renders one package. Its ID is the same whoever scans it.
func record(a accused) *osvschema.Vulnerability {
	at := timestamppb.New(a.at)
	return &osvschema.Vulnerability{
		SchemaVersion: osvconstants.SchemaVersion,
		Id:            unassigned + uuid.NewSHA1(uuid.NameSpaceURL, []byte(a.pkg.PURL)).String(),
		Modified:      at, Published: at,
		Summary: fmt.Sprintf("Malicious code in %s (%s)", a.name, a.eco),
		Details: details(a),
		Affected: []*osvschema.Affected{{
			Package:          &osvschema.Package{Name: a.name, Ecosystem: string(a.eco)},
			Versions:         []string{a.pkg.Version},
			DatabaseSpecific: object(map[string]any{"cwes": []any{map[string]any{"cweId": "CWE-506", "name": "Embedded Malicious Code"}}}),
		}},
		Credits:          []*osvschema.Credit{{Name: "Falconer", Type: osvschema.Credit_TOOL, Contact: []string{"https://github.com/falconer-sec/falconer"}}},
		DatabaseSpecific: object(map[string]any{"falconer": evidence(a)}),
	}
}

// details tells in Markdown what was observed.
func details(a accused) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Version %s of the package was installed in a sandbox that recorded its system calls. What it did is found in malicious code only:\n", markdown.Code(a.pkg.Version))
	for _, i := range a.issues {
		b.WriteString("\n- " + markdown.Code(i.Rule))
		if len(i.Scripts) > 0 {
			b.WriteString(" in " + markdown.Code(strings.Join(i.Scripts, ", ")))
		}
	}
	return b.String() + "\n"
}

// evidence is what was observed, as data.
func evidence(a accused) map[string]any {
	var list []any
	for _, i := range a.issues {
		var seen []any
		for _, e := range i.Evidence {
			seen = append(seen, map[string]any{"command": e.Command, "chain": anys(e.Chain), "file": e.File, "address": e.Address})
		}
		list = append(list, map[string]any{"rule": i.Rule, "priority": i.Priority.String(), "behaviours": anys(i.Behaviours),
			"techniques": anys(i.Techniques), "scripts": anys(i.Scripts), "count": float64(i.Count), "evidence": seen})
	}
	return map[string]any{"purl": a.pkg.PURL, "rules": a.rules, "recipe": a.recipes, "integrity": a.pkg.Integrity, "issues": list}
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// object makes a JSON object. It can't fail: every text of a dossier is valid
// UTF-8, and every value one that JSON has.
func object(m map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(m)
	if err != nil {
		return &structpb.Struct{Fields: map[string]*structpb.Value{"error": structpb.NewStringValue(err.Error())}}
	}
	return s
}

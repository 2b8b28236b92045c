// Package cyclonedx renders a dossier as a CycloneDX 1.6 BOM: the packages that
// the scans saw, and what they did as vulnerabilities.
//
// Guarantees:
//   - Where anything was not checked, the BOM holds a vulnerability of its own that
//     says so (in triage, of unknown severity, affecting the scanned lockfile), and
//     an annotation: readers of vulnerabilities never see an empty list that means
//     nothing.
//   - Components are what was seen, which is less than what is pinned; the
//     composition says "incomplete" or "unknown", never "complete".
//   - Nothing from a sandbox is markup: descriptions are Markdown in which it is
//     inert, the rest stands in properties.
//   - bom-refs are unique; the same dossier makes the same bytes.
package cyclonedx

import (
	"bytes"
	"fmt"
	"io"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// Write writes the BOM, indented, with a newline at its end. The error is w's
// or, for a BOM that is none, the encoder's.
func Write(w io.Writer, d dossier.Dossier) error {
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(New(d), cdx.SpecVersion1_6); err != nil {
		return err
	}
	text := bytes.TrimRight(b.Bytes(), "\n")
	_, err := w.Write(append(report.Inert(text), '\n'))
	return err
}

// New makes the BOM.
func New(d dossier.Dossier) *cdx.BOM {
	bom := cdx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + d.ID
	bom.Version = 1
	for _, s := range d.Scans {
		bom.Version = max(bom.Version, s.Revision)
	}
	tool := cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: "tool:falconer", Name: "falconer", Version: d.Version, Publisher: "Falconer"}
	bom.Metadata = &cdx.Metadata{
		Timestamp: clock(d.End), Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{tool}}, Component: source(d),
		Properties: list(property("falconer:verdict", string(d.Verdict)), property("falconer:complete", yesNo(d.Complete))),
	}
	c := components(d)
	bom.Components = &c
	bom.Compositions = &[]cdx.Composition{{Aggregate: aggregate(d), Assemblies: &[]cdx.BOMReference{sourceRef}}}
	v := vulnerabilities(d)
	bom.Vulnerabilities = &v
	for n, s := range d.Scans {
		for _, text := range s.Notes {
			bom.Metadata.Properties = list(append(*bom.Metadata.Properties, property(fmt.Sprintf("falconer:note:%d", n+1), text))...)
		}
	}
	if !d.Complete {
		bom.Annotations = &[]cdx.Annotation{annotation(d, tool)}
	}
	return bom
}

// aggregate never says complete: packages that came from a cache or were
// unpacked beforehand may not be listed.
func aggregate(d dossier.Dossier) cdx.CompositionAggregate {
	for _, s := range d.Scans {
		if len(s.Packages) < s.Pinned {
			return cdx.CompositionAggregateIncomplete
		}
	}
	if !d.Complete {
		return cdx.CompositionAggregateIncomplete
	}
	return cdx.CompositionAggregateUnknown
}

// annotation says what was not checked.
func annotation(d dossier.Dossier, tool cdx.Component) cdx.Annotation {
	tool.BOMRef = "" // a ref stands once
	return cdx.Annotation{BOMRef: "annotation:incomplete", Subjects: &[]cdx.BOMReference{sourceRef}, Annotator: &cdx.Annotator{Component: &tool},
		Timestamp: clock(d.End), Text: incompleteText(d)}
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func property(name, value string) cdx.Property { return cdx.Property{Name: name, Value: value} }

// list leaves out properties without a value.
func list(all ...cdx.Property) *[]cdx.Property {
	var out []cdx.Property
	for _, p := range all {
		if p.Value != "" {
			out = append(out, p)
		}
	}
	return &out
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

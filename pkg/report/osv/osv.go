// Package osv renders a dossier in the form of OSV's malicious-package reports:
// one OSV record for each package that did what only malicious code does.
//
// Guarantees:
//   - A record accuses a package of a public registry by name. There is one only
//     for a package whose guilt is proven: a finding of priority Critical or
//     worse, attributed by what was observed, not by what a process claimed, and
//     installed from that registry.
//   - A record says nothing of the project that was scanned: it can be published.
//   - The document's vulns are absent, not empty, where an empty list would read
//     as a success that it is not: the scan was incomplete, or malice was proven
//     of something that no record can name. scan says which.
//   - The same dossier makes the same bytes.
package osv

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// Document frames the records: OSV has no form for several, nor for a scan.
type Document struct {
	Scan  Scan              `json:"scan"`
	Vulns []json.RawMessage `json:"vulns,omitempty"`
}

// Scan says what the records are worth.
type Scan struct {
	ID         string          `json:"id"`
	Verdict    finding.Verdict `json:"verdict"`
	Complete   bool            `json:"complete"`
	Incomplete []string        `json:"incomplete"` // what was not checked
	// Unnamed are proven findings without a record, and why.
	Unnamed []Unnamed `json:"unnamed"`
	// Suppressed are proven findings that somebody vouched for: they accuse nobody.
	Suppressed []Unnamed `json:"suppressed,omitempty"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Version    string    `json:"falconer"`
}

// Unnamed is a proven finding that accuses nobody.
type Unnamed struct {
	Package string `json:"package"`
	Rule    string `json:"rule"`
	Reason  string `json:"reason"`
}

// Write writes the document, indented, with a newline at its end. The error is
// w's.
func Write(w io.Writer, d dossier.Dossier) error {
	doc, err := New(d)
	if err != nil {
		return err
	}
	type loud struct { // an empty list that is no lie is shown
		Scan  Scan              `json:"scan"`
		Vulns []json.RawMessage `json:"vulns"`
	}
	var out any = doc
	if doc.Vulns != nil {
		out = loud(doc)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err = w.Write(report.Inert(b.Bytes()))
	return err
}

// New makes the document.
func New(d dossier.Dossier) (Document, error) {
	records, unnamed := Records(d)
	doc := Document{Scan: Scan{ID: d.ID, Verdict: d.Verdict, Complete: d.Complete, Incomplete: d.Gaps, Unnamed: unnamed, Started: d.Start, Ended: d.End, Version: d.Version}}
	for _, i := range d.Issues {
		if i.Priority <= finding.Critical && i.Suppressed != "" {
			doc.Scan.Suppressed = append(doc.Scan.Suppressed, Unnamed{i.Package.Key(), i.Rule, i.Suppressed})
		}
	}
	if doc.Scan.Incomplete == nil {
		doc.Scan.Incomplete = []string{}
	}
	if len(records) > 0 || d.Complete && len(unnamed) == 0 {
		doc.Vulns = []json.RawMessage{}
	}
	for _, r := range records {
		text, err := encode(r)
		if err != nil {
			return Document{}, err
		}
		doc.Vulns = append(doc.Vulns, text)
	}
	return doc, nil
}

// encode writes a record with the schema's field names. protojson varies its
// white space on purpose; the document's encoder sets it anew.
func encode(v *osvschema.Vulnerability) (json.RawMessage, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(v)
}

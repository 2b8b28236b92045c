// Package format names the forms that results are rendered in.
//
// Guarantees: every form that the command line takes the API takes, and the
// other way round; what a form does is that form's package's promise.
package format

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/report/cyclonedx"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
	"github.com/falconer-sec/falconer/pkg/report/osv"
	"github.com/falconer-sec/falconer/pkg/report/sarif"
)

// Format is a machine-readable form of one source's results, as one document.
type Format struct {
	Name      string // "gitlab"
	File      string // what such a file is called by those who read it
	MediaType string
	Write     func(io.Writer, dossier.Dossier) error
}

// All lists the forms. Text and falconer's own JSON, which show one result at
// a time, are package report's.
func All() []Format {
	return []Format{
		{"gitlab", "gl-dependency-scanning-report.json", "application/json", gitlabreport.Write},
		{"sarif", "falconer.sarif", "application/sarif+json", sarif.Write},
		{"osv", "falconer.osv.json", "application/json", osv.Write},
		{"cyclonedx", "falconer.cdx.json", "application/vnd.cyclonedx+json; version=1.6", cyclonedx.Write},
	}
}

// Parse finds a form by name. The error lists the names.
func Parse(name string) (Format, error) {
	all := All()
	if i := slices.IndexFunc(all, func(f Format) bool { return f.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Format{}, fmt.Errorf("%.40q is none of the formats %s", name, strings.Join(Names(), ", "))
}

// Names lists the forms' names.
func Names() []string {
	var names []string
	for _, f := range All() {
		names = append(names, f.Name)
	}
	return names
}

// List reads names that commas separate; none is an empty list.
func List(names string) ([]Format, error) {
	var list []Format
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		f, err := Parse(name)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/format"
)

// forms lists what a report may be written as.
func forms() string { return strings.Join(append(format.Names(), "json", "text"), ", ") }

// form finds what writes a report in a form.
func form(name string) (func(io.Writer, finding.Result) error, error) {
	switch name {
	case "json":
		return report.JSON, nil
	case "text":
		return func(w io.Writer, r finding.Result) error { return report.Text(w, r, report.Options{}) }, nil
	}
	f, err := format.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("--format: %.40q is none of %s", name, forms())
	}
	return func(w io.Writer, r finding.Result) error {
		return f.Write(w, dossier.Make(dossier.Input{Version: ownVersion(), Results: []finding.Result{r}}))
	}, nil
}

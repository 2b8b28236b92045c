package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/format"
)

// deliver writes the reports to the output and returns the verdict as the exit
// code. Where nothing at all could be scanned there is no verdict: that is an
// error.
func (a *app) deliver(f scanFlags, to output, plan planner.Plan, reports []reporter.Report) error {
	rejected := rejections(plan, reports)
	if len(rejected) == len(plan.Rejected)+len(reports) {
		return notScanned(rejected)
	}
	options := report.Options{}
	if to.stream != nil {
		options = a.terminal(to.stream)
	}
	options.Verbose = f.verbose
	if err := to.write(func(w io.Writer) error { return writeReports(w, f.format, options, reports, rejected) }); err != nil {
		return fmt.Errorf("the scan is done, but its result could not be written: %w", err)
	}
	if f.format == "json" { // the document has no place for what was never scanned
		for _, r := range rejected {
			a.complain("not scanned: " + r.Reason)
		}
	}
	if code := verdict(rejected, reports).ExitCode(); code != 0 {
		return codeError(code)
	}
	return nil
}

// rejections lists what could not be scanned: at the plan, or later.
func rejections(plan planner.Plan, reports []reporter.Report) []event.Rejected {
	list := append([]event.Rejected(nil), plan.Rejected...)
	for _, r := range reports {
		if r.Result == nil && r.Rejected != nil {
			list = append(list, *r.Rejected)
		}
	}
	return list
}

// notScanned explains why there is no result.
func notScanned(rejected []event.Rejected) error {
	var reasons []error
	for _, r := range rejected {
		reasons = append(reasons, errors.New(r.Reason))
	}
	return errors.Join(reasons...)
}

// writeReports writes every result, and for people what has none. Forms that
// machines read make one document of all, which says what is missing.
func writeReports(w io.Writer, name string, o report.Options, reports []reporter.Report, rejected []event.Rejected) error {
	if f, err := format.Parse(name); err == nil {
		return f.Write(w, together(reports, rejected))
	}
	first := true
	for _, r := range reports {
		if r.Result == nil {
			continue
		}
		var err error
		switch {
		case name == "json":
			err = report.JSON(w, *r.Result)
		case first:
			err = report.Text(w, *r.Result, o)
		default:
			_, err = io.WriteString(w, "\n")
			err = errors.Join(err, report.Text(w, *r.Result, o))
		}
		if err != nil {
			return err
		}
		first = false
	}
	if name == "json" {
		return nil
	}
	for _, r := range rejected {
		_, err := io.WriteString(w, "\n")
		if err := errors.Join(err, report.Rejection(w, r.Project, r.Reason, o)); err != nil {
			return err
		}
	}
	return nil
}

// together makes one finding set of all reports.
func together(reports []reporter.Report, rejected []event.Rejected) dossier.Dossier {
	in := dossier.Input{Version: ownVersion(), Now: time.Now}
	for _, r := range reports {
		if r.Result != nil {
			in.Results = append(in.Results, *r.Result)
		}
	}
	for _, r := range rejected {
		in.Rejected = append(in.Rejected, dossier.Rejection{Project: r.Project, Reason: r.Reason})
	}
	return dossier.Make(in)
}

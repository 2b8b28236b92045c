package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/report"
)

// deliver writes the reports where they were asked for and returns the verdict
// as the exit code.
func (a *app) deliver(f scanFlags, plan planner.Plan, reports []reporter.Report) error {
	options := a.terminal(a.io.out)
	if f.output != "" {
		options = report.Options{}
	}
	options.Verbose = f.verbose
	write := func(w io.Writer) error { return writeReports(w, f.format, options, plan, reports) }
	if err := a.toOutput(f.output, write); err != nil {
		return fmt.Errorf("the scan is done, but its result could not be written: %w", err)
	}
	if f.format == "json" { // the document has no place for what was never scanned
		for _, r := range plan.Rejected {
			fmt.Fprintf(a.io.err, "falconer: not scanned: %s\n", r.Reason)
		}
	}
	if code := verdict(plan, reports).ExitCode(); code != 0 {
		return codeError(code)
	}
	return nil
}

func writeReports(w io.Writer, format string, o report.Options, plan planner.Plan, reports []reporter.Report) error {
	for i, r := range reports {
		var err error
		switch {
		case format == "json" && r.Result != nil:
			err = report.JSON(w, *r.Result)
		case format == "json":
			err = fmt.Errorf("scan %s was rejected: %s", r.Rejected.ScanID, r.Rejected.Reason)
		case r.Result != nil:
			if i > 0 {
				_, err = io.WriteString(w, "\n")
			}
			err = errors.Join(err, report.Text(w, *r.Result, o))
		default:
			err = report.Rejection(w, r.Rejected.Project, r.Rejected.Reason, o)
		}
		if err != nil {
			return err
		}
	}
	if format == "json" {
		return nil
	}
	for _, r := range plan.Rejected {
		if err := report.Rejection(w, r.Project, r.Reason, o); err != nil {
			return err
		}
	}
	return nil
}

// toOutput writes to standard output, or to a file that appears only once it
// is complete.
func (a *app) toOutput(name string, write func(io.Writer) error) error {
	if name == "" || name == "-" {
		return write(a.io.out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".falconer-")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

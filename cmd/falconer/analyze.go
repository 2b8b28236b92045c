package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter/client"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// analyzeFlags are the command line of `falconer analyze`.
type analyzeFlags struct {
	server, manager, format, output string
	timeout                         time.Duration
	quiet, failing                  bool
}

func (a *app) analyzeCommand() *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze PROJECT.tgz",
		Short: "Have a server scan an archive, as Package Hunter's client did",
		Long: `Analyze sends a .tgz of a project to a Falconer (POST /monitor/project/MANAGER), waits for the verdict, and writes the
report to standard output. What goes on is written to standard error.

  HTR_user, HTR_pass (or HTR_USER, HTR_PASS)   the user and password at the server
  HTR_host (or HTR_HOST)                       the server, where --server does not say it

Exit codes: 0 once the report is written, whatever was found (with --exit-code: 1 suspicious, 2 malicious); 3 inconclusive, which
means not scanned; 4 an error.`,
		Example: "  falconer analyze --format gitlab --manager npm project.tgz > gl-dependency-scanning-report.json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.analyze(cmd.Context(), args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", "", "`URL` of the server (default $HTR_host, or http://127.0.0.1:8080)")
	fl.StringVar(&f.manager, "manager", "npm", "the project's package manager")
	fl.StringVar(&f.format, "format", "gitlab", "the report's form: "+forms())
	fl.StringVarP(&f.output, "output", "o", "", "write the report to `FILE` instead of standard output")
	fl.DurationVar(&f.timeout, "timeout", time.Hour, "give up after this long")
	fl.BoolVar(&f.failing, "exit-code", false, "let the exit code say what was found")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// either reads a variable by the name that Package Hunter's client gave it, or
// by the same in upper case.
func (a *app) either(name, upper string) string { return cmp.Or(a.getenv(name), a.getenv(upper)) }

func (a *app) analyze(ctx context.Context, path string, f analyzeFlags) error {
	write, err := form(f.format)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{
		URL:  cmp.Or(f.server, a.either("HTR_host", "HTR_HOST"), "http://127.0.0.1:8080"),
		User: a.either("HTR_user", "HTR_USER"), Password: a.either("HTR_pass", "HTR_PASS"),
		Progress: func(line string) {
			if !f.quiet {
				fmt.Fprintln(a.io.err, "falconer: "+printable(line))
			}
		},
	})
	if err != nil {
		return err
	}
	to, err := a.openOutput(f.output)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	id, err := c.Submit(ctx, f.manager, func() (io.ReadCloser, int64, error) { return openArchive(path) })
	if err != nil {
		return err
	}
	answer, err := c.Wait(ctx, id)
	switch {
	case err != nil:
		return fmt.Errorf("scan %s: %w", id, err)
	case answer.Scan == nil:
		return fmt.Errorf("scan %s: the server told the alerts, but not what they come to; is it a Falconer?", id)
	}
	if err := to.write(func(w io.Writer) error { return write(w, *answer.Scan) }); err != nil {
		return fmt.Errorf("the scan is done, but its report could not be written: %w", err)
	}
	return a.concluded(answer, f.failing)
}

// concluded says what a scan came to, and how the program ends.
func (a *app) concluded(answer packagehunter.Answer, failing bool) error {
	v := answer.Scan.Verdict
	if v == finding.Inconclusive {
		a.complain(answer.Reason)
		return codeError(v.ExitCode())
	}
	if failing && v.ExitCode() != 0 {
		return codeError(v.ExitCode())
	}
	return nil
}

// openArchive opens the archive to send.
func openArchive(path string) (io.ReadCloser, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file; make an archive of the project: tar czf project.tgz project", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

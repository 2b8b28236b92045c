package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/falconer-sec/falconer/pkg/report"
)

// stdio is the program's terminal.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// app is what all commands share.
type app struct {
	io     stdio
	getenv func(string) string
	debug  bool
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, std stdio, getenv func(string) string) int {
	a := &app{io: std, getenv: getenv}
	root := &cobra.Command{
		Use:   "falconer",
		Short: "Find malicious third-party code by running it",
		Long: "Falconer installs a project's dependencies in a gVisor sandbox, watches every system call,\n" +
			"and says which package did what.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.PersistentFlags().BoolVar(&a.debug, "debug", false, "log what happens inside to standard error")
	root.AddCommand(a.scanCommand(), a.serveCommand(), a.analyzeCommand(), a.eventsCommand(), a.replayCommand(), a.userCommand(), a.versionCommand())
	err := root.ExecuteContext(ctx)
	var code codeError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.complain(err.Error())
	return exitError
}

// complain says something on standard error. Errors quote what others wrote,
// file names and lockfiles say: nothing of it may drive the terminal.
func (a *app) complain(text string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	fmt.Fprintf(a.io.err, "falconer: %s\n", strings.Join(lines, "\n  "))
}

// log returns the logger for --debug, or one for warnings and worse.
func (a *app) log() *slog.Logger {
	level := slog.LevelError
	if a.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.io.err, &slog.HandlerOptions{Level: level}))
}

// terminal describes where w writes to.
func (a *app) terminal(w io.Writer) report.Options {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return report.Options{}
	}
	o := report.Options{Color: report.Color(a.getenv, true)}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		o.Width = width
	}
	return o
}

// Command corpus serves the detection corpus as an npm registry on loopback
// and scans it, or runs any command, with it:
//
//	go run ./test/corpus/cmd/corpus scan bin/falconer [CASE...]
//	go run ./test/corpus/cmd/corpus report bin/falconer docs/corpus.md
//	go run ./test/corpus/cmd/corpus with bin/falconer scan test/corpus/stolen-key
//
// scan runs "falconer scan" on each case (all, unless some are named) and
// compares the result with the case's expect.json; it exits with 1 if one
// differs. report scans the acts and real packages and writes what was found
// to a file; it exits with 1 if something was missed. with exits with the command's status. Commands' npm is sent to the
// registry through npm_config_registry; packages that are not the corpus's own
// come from the registry configured until then.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/test/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		code = 4
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) < 2 || args[0] != "scan" && args[0] != "with" && args[0] != "report" || args[0] == "report" && len(args) != 3 {
		return 0, errors.New("usage: corpus scan FALCONER [CASE...] | corpus report FALCONER FILE | corpus with COMMAND [ARGUMENT...]")
	}
	cases, err := corpus.All(installed)
	if err != nil {
		return 0, err
	}
	address, stop, err := serve(ctx, cases)
	if err != nil {
		return 0, err
	}
	defer stop()
	if args[0] == "scan" {
		return scanAll(ctx, address, args[1], cases, args[2:])
	}
	if args[0] == "report" {
		return report(ctx, address, args[1], args[2])
	}
	cmd := command(ctx, address, args[1], args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return status(cmd.Run())
}

// installed reports whether a program is where a sandbox looks for it.
func installed(program string) bool {
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// command prepares a program that uses the corpus's registry and is
// interrupted when ctx ends.
func command(ctx context.Context, address, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), "npm_config_registry="+address)
	return cmd
}

// status turns a program's failure into its exit code.
func status(err error) (int, error) {
	var exited *exec.ExitError
	if errors.As(err, &exited) && exited.ExitCode() >= 0 {
		return exited.ExitCode(), nil
	}
	return 0, err
}

// serve starts the registry and returns its address.
func serve(ctx context.Context, cases []corpus.Case) (address string, stop func(), err error) {
	cache, err := os.MkdirTemp("", "corpus-registry-")
	if err != nil {
		return "", nil, err
	}
	reg, err := corpus.Registry(cases, upstream(ctx, cache))
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: reg, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	return "http://" + ln.Addr().String() + "/", func() {
		_ = srv.Close()
		_ = os.RemoveAll(cache) // what is left lies in the temporary folder
	}, nil
}

// upstream is the registry configured on this machine, nil if there is none.
func upstream(ctx context.Context, cache string) *registry.Mirror {
	config, err := registry.Configured(ctx, registry.Host{Env: os.Environ()})
	var m *registry.Mirror
	if err == nil {
		m, err = registry.New(registry.Options{Config: config, Cache: cache})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus: only the corpus's own packages are served:", err)
		return nil
	}
	return m
}

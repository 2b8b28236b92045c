// Command corpus-registry serves the detection corpus as an npm registry on
// loopback and runs a command with it:
//
//	go run ./test/corpus/cmd/corpus-registry -- bin/falconer scan test/corpus/stolen-key
//
// The command's npm is sent there through npm_config_registry; packages that
// are not the corpus's own come from the registry configured until then. It
// exits with the command's status.
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
	"syscall"
	"time"

	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/test/corpus"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: corpus-registry -- COMMAND [ARGUMENT...]")
		os.Exit(4)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus-registry:", err)
		code = 4
	}
	os.Exit(code)
}

// run serves the corpus for as long as the command runs and returns its exit
// code.
func run(ctx context.Context, args []string) (int, error) {
	handler, cleanup, err := corpusHandler(ctx)
	if err != nil {
		return 0, err
	}
	defer cleanup()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with Close below
	defer srv.Close()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), "npm_config_registry=http://"+ln.Addr().String()+"/")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exited *exec.ExitError
	if errors.As(err, &exited) && exited.ExitCode() >= 0 {
		return exited.ExitCode(), nil
	}
	return 0, err
}

func corpusHandler(ctx context.Context) (http.Handler, func(), error) {
	cases, err := corpus.Load(corpus.FS)
	if err != nil {
		return nil, nil, err
	}
	cache, err := os.MkdirTemp("", "corpus-registry-")
	if err != nil {
		return nil, nil, err
	}
	cleanup := func() { _ = os.RemoveAll(cache) } // what is left lies in the temporary folder
	var upstream *registry.Mirror
	config, err := registry.Configured(ctx, registry.Host{Env: os.Environ()})
	if err == nil {
		upstream, err = registry.New(registry.Options{Config: config, Cache: cache})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus-registry: only the corpus's own packages are served:", err)
	}
	reg, err := corpus.Registry(cases, upstream)
	if err != nil {
		cleanup()
		return nil, nil, err
	}
	return reg, cleanup, nil
}

// Command falconer scans a project's third-party code by running it.
//
// `falconer scan` does one scan, `falconer serve` waits for pushes and alerts.
// Both run the same functions on the same embedded broker.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor/runtime"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
)

func main() {
	stopSampler()
	seccomp.Dispatch()
	runtime.Dispatch() // becomes gVisor when started under one of its names
	// A reader that has gone (falconer scan 2>&1 | head) makes a write fail
	// instead of ending us on the spot, with the temporary files still there.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}, os.Getenv)
	stop()
	os.Exit(code)
}

// exitError is the exit code for an error of ours or of usage.
const exitError = 4

// codeError ends the program with a code of its own and says nothing more.
type codeError int

func (c codeError) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

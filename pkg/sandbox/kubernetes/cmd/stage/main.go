// Command stage is the init container of a scan's pod: it fetches the source
// and lays it out. Its exit codes are those of package stage.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes/stage"
)

func main() {
	task, err := stage.FromEnv(os.Getenv)
	if err == nil {
		err = stage.New().Run(context.Background(), task)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = stage.Message("/dev/termination-log", err) // the log has it too
	}
	os.Exit(stage.Exit(err))
}

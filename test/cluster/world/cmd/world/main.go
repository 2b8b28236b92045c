// Command world runs the services around Falconer for its end-to-end tests in a
// cluster: the control API on port 8080, the GitLab on 8081, the npm registry on
// 4873, a collector of traces on 4318. It reads WORLD_HOOK_URL, WORLD_HOOK_TOKEN, WORLD_GATE_URL,
// WORLD_GATE_TOKEN, WORLD_GITLAB_TOKEN and WORLD_GITLAB_URL.
//
// "world give DIR" instead makes a directory the property of the account that
// NATS runs as.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

// nonroot is the user and the group that NATS runs as.
const nonroot = 65532

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	act := run
	if len(os.Args) > 2 && os.Args[1] == "give" {
		act = func(context.Context) error { return give(os.Args[2:]) }
	}
	if err := act(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		stop()
		os.Exit(1)
	}
}

// give makes directories NATS's own.
func give(dirs []string) error {
	for _, dir := range dirs {
		if err := os.Chown(dir, nonroot, nonroot); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context) error {
	w, err := world.New(world.Config{
		HookURL: os.Getenv("WORLD_HOOK_URL"), HookToken: os.Getenv("WORLD_HOOK_TOKEN"),
		GateURL: os.Getenv("WORLD_GATE_URL"), GateToken: os.Getenv("WORLD_GATE_TOKEN"),
		GitLabToken: os.Getenv("WORLD_GITLAB_TOKEN"), GitLabURL: os.Getenv("WORLD_GITLAB_URL"),
		Client: serve.NewClient(time.Minute),
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for addr, h := range map[string]http.Handler{":8080": w.Handler(), ":8081": w.GitLab(), ":4873": w.Registry, ":4318": &w.Collector} {
		g.Go(func() error { return serve.Run(ctx, serve.Config{Addr: addr, Handler: h}) })
	}
	return g.Wait()
}

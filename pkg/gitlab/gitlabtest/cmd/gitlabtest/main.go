// Command gitlabtest serves a GitLab in memory, for end-to-end tests in a
// cluster. It needs no file but what it is given:
//
//	PORT                 port to listen on (8080)
//	GITLABTEST_TOKEN     the token that it accepts (glpat-gitlabtest)
//	GITLABTEST_PROJECTS  directory of projects, see gitlabtest.Server.Load (/projects)
//	GITLABTEST_URL       its own address, as others reach it (http://localhost:PORT)
//
// What was called is at /_records, what became of it at /_state.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "gitlabtest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string) error {
	or := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	port := or("PORT", "8080")
	lab := gitlabtest.New(or("GITLABTEST_TOKEN", "glpat-gitlabtest"))
	lab.SetURL(or("GITLABTEST_URL", "http://localhost:"+port))
	if err := lab.Load(os.DirFS(or("GITLABTEST_PROJECTS", "/projects"))); err != nil {
		return err
	}
	return serve.Run(ctx, serve.Config{Addr: ":" + port, Handler: lab, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
}

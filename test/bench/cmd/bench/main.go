// Command bench measures what Falconer costs on this machine and prints it as
// tables:
//
//	scripts/bench                       all of it, five rounds: some twenty minutes
//	scripts/bench -parts scan -rounds 9
//	scripts/bench -quick                does everything run? the figures mean nothing
//	scripts/bench -markdown docs/performance.md
//
// It is run in the repository's root. Every sample goes to dist/bench.json, one
// JSON object a line. Exit code 1 means that something could not be measured,
// never that something was slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/falconer-sec/falconer/test/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	falconer := flag.String("falconer", "bin/falconer", "the `PROGRAM` under test")
	rounds := flag.Int("rounds", 5, "measure each thing `N` times")
	list := flag.String("parts", "", "measure only these `PARTS`, comma-separated: "+strings.Join(bench.PartNames(), ", "))
	quick := flag.Bool("quick", false, "one short round, to see that everything runs")
	file := flag.String("json", "dist/bench.json", "write every sample to `FILE`")
	document := flag.String("markdown", "", "put the tables into `FILE`, between its marks")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 {
		return errors.New("no arguments are expected, and -rounds of at least 1")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if *falconer, err = filepath.Abs(*falconer); err != nil {
		return err
	}
	c := bench.Config{Root: root, Falconer: *falconer, Rounds: *rounds, Quick: *quick, Progress: os.Stderr}
	if *quick {
		c.Rounds = 1
	}
	if *list != "" {
		c.Parts = strings.Split(*list, ",")
	}
	r, err := bench.Measure(ctx, c)
	if r == nil {
		return err
	}
	errs := []error{r.Text(os.Stdout), err, r.WriteJSON(*file)}
	if *document != "" {
		errs = append(errs, r.WriteDocument(*document))
	}
	return errors.Join(errs...)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/test/corpus"
)

// scanAll scans the named cases (all for none) and prints a line for each. The
// exit code is 1 if a result is not the expected one.
func scanAll(ctx context.Context, address, falconer string, cases []corpus.Case, names []string) (int, error) {
	code := 0
	for _, c := range cases {
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		start := time.Now()
		result, err := scanOne(ctx, address, falconer, c)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		var wrong []string
		if err != nil {
			wrong = []string{err.Error()}
		} else {
			wrong = c.Check(result)
		}
		word := "ok  "
		if len(wrong) > 0 {
			word, code = "FAIL", 1
		}
		fmt.Printf("%s %-20s %-12s %5.1fs  %d alerts, %d records\n", word, c.Name, result.Verdict, time.Since(start).Seconds(), result.Counts.Alerts, result.Counts.SensorEvents)
		for _, w := range wrong {
			fmt.Printf("       %s\n", w)
		}
	}
	return code, nil
}

// scanOne runs falconer on a copy of the case's project.
func scanOne(ctx context.Context, address, falconer string, c corpus.Case) (finding.Result, error) {
	files, err := c.Project()
	if err != nil {
		return finding.Result{}, err
	}
	return scanFiles(ctx, address, falconer, files, c.Timeout())
}

// scanFiles runs falconer on a project of these files; a timeout of zero is the
// default.
func scanFiles(ctx context.Context, address, falconer string, files map[string][]byte, timeout time.Duration) (r finding.Result, err error) {
	dir, err := os.MkdirTemp("", "corpus-scan-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return r, err
		}
	}
	args := []string{"scan", "--quiet", "--format=json"}
	if timeout > 0 {
		args = append(args, "--timeout="+timeout.String())
	}
	cmd := command(ctx, address, falconer, append(args, dir)...)
	cmd.Stderr = os.Stderr
	out, runErr := cmd.Output()
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("no result: %w (%v)", err, runErr)
	}
	return r, nil
}

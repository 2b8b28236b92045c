package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/test/corpus"
)

const (
	// benignTimeout bounds a scan of real packages: they build native addons.
	benignTimeout = 15 * time.Minute
	// parallel is how many scans run at once.
	parallel = 2
)

// job is one scan of a report.
type job struct {
	name    string
	files   func() (map[string][]byte, error)
	timeout time.Duration
	done    func(r finding.Result, took time.Duration)
}

// report scans the acts and the real packages and writes the tally to file,
// also if it is interrupted. The exit code is 1 if the tally is not perfect.
func report(ctx context.Context, address, falconer, file string) (int, error) {
	var y corpus.Tally
	jobs, err := acted(&y)
	if err != nil {
		return 0, err
	}
	more, err := benign(ctx, &y)
	if err != nil {
		return 0, err
	}
	work(ctx, address, falconer, append(jobs, more...), &y)
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	if err := y.Write(f, time.Now().UTC()); err != nil {
		_ = f.Close()
		return 0, err
	}
	code := 0
	if !y.Perfect() {
		code = 1
	}
	return code, f.Close()
}

// work does the jobs in order, several at once, and tells y of each.
func work(ctx context.Context, address, falconer string, jobs []job, y *corpus.Tally) {
	var mu sync.Mutex // for y and the output
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, j := range jobs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			files, err := j.files()
			start := time.Now()
			var r finding.Result
			if err == nil {
				r, err = scanFiles(ctx, address, falconer, files, j.timeout)
			}
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			if err != nil {
				y.Failed(j.name, err)
				return
			}
			took := time.Since(start)
			j.done(r, took)
			fmt.Printf("%-32s %-12s %5.1fs\n", j.name, r.Verdict, took.Seconds())
		})
	}
	wg.Wait()
}

func acted(y *corpus.Tally) ([]job, error) {
	acts, err := corpus.Acts()
	if err != nil {
		return nil, err
	}
	var jobs []job
	for _, a := range acts {
		cases, err := a.Cases(installed)
		if err != nil {
			return nil, err
		}
		for _, c := range cases {
			jobs = append(jobs, job{name: c.Name, files: c.Project, timeout: c.Timeout(), done: func(r finding.Result, took time.Duration) {
				y.Acted(a, c, r, took)
				for _, wrong := range c.Check(r) {
					fmt.Printf("       %s\n", wrong)
				}
			}})
		}
	}
	return jobs, nil
}

func benign(ctx context.Context, y *corpus.Tally) ([]job, error) {
	projects, err := corpus.Benign()
	if err != nil {
		return nil, err
	}
	var jobs []job
	for i, manifest := range projects {
		jobs = append(jobs, job{name: fmt.Sprintf("benign packages, list %d", i+1), timeout: benignTimeout,
			files: func() (map[string][]byte, error) { return locked(ctx, manifest) }, done: y.Benign})
	}
	return jobs, nil
}

// locked has npm write the lockfile of a project, from the registry that it is
// configured with, and nothing installed.
func locked(ctx context.Context, manifest []byte) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "corpus-benign-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund", "--force", "--before="+corpus.BenignBefore)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm install --package-lock-only: %w: %.500s", err, out)
	}
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return nil, err
	}
	lock, err = corpus.WithoutAddresses(lock)
	return map[string][]byte{"package.json": manifest, "package-lock.json": lock}, err
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	nativeInstall = "npm ci"
	scanTotal     = "falconer scan"
	scanBefore    = "falconer scan, until scan.started"
	scanInstall   = "falconer scan, the sandboxed install alone"
	scanAfter     = "falconer scan, from sandbox.exited on"
	straceInstall = "strace -f npm ci"
)

// nativeEnv lets npm do what the sandbox lets it do: run install scripts, and
// nothing beside the install.
var nativeEnv = []string{
	"npm_config_ignore_scripts=false", "npm_config_dangerously_allow_all_scripts=true",
	"npm_config_audit=false", "npm_config_fund=false", "npm_config_update_notifier=false", "npm_config_progress=false",
}

// contender is one way to install the project.
type contender struct {
	name string
	once func(context.Context) error // installs; samples, unless it is the warm-up
}

// scans measures the ways to install test/bench/project.
type scans struct {
	*Run
	project  string // package.json and package-lock.json alone
	npm      string // npm's cache
	cache    string // Falconer's download cache
	measured bool   // the warm-up is over
}

// scanCost compares `falconer scan` with the same `npm ci` on the host, both
// with everything in their caches, in turns.
func scanCost(ctx context.Context, r *Run) error {
	s := &scans{Run: r}
	var err error
	if s.project, err = s.copy("project"); err != nil {
		return err
	}
	if s.npm, err = r.dir("npm-cache"); err != nil {
		return err
	}
	if s.cache, err = r.dir("download-cache"); err != nil {
		return err
	}
	list := []contender{{nativeInstall, s.native}, {scanTotal, s.scan}}
	if _, err := exec.LookPath("strace"); err == nil {
		list = append(list, contender{straceInstall, s.strace})
	} else {
		r.note(straceInstall, "s", "strace is not installed, so it was not measured")
	}
	for _, c := range list {
		r.say("warm up: %s", c.name)
		if err := c.once(ctx); err != nil {
			return err
		}
	}
	s.measured = true
	for round := range r.Rounds {
		for i := range list {
			c := list[(round+i)%len(list)]
			r.say("round %d of %d: %s", round+1, r.Rounds, c.name)
			if err := c.once(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// copy makes a fresh copy of the project.
func (s *scans) copy(name string) (string, error) {
	dir := filepath.Join(s.scratch, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(filepath.Join(s.Root, "test", "bench", "project")))
}

func (s *scans) native(ctx context.Context) error { return s.install(ctx, nativeInstall) }

func (s *scans) strace(ctx context.Context) error {
	return s.install(ctx, straceInstall, "strace", "-f", "-o", "/dev/null")
}

// install runs npm on the host, below the programs given.
func (s *scans) install(ctx context.Context, name string, below ...string) error {
	dir, err := s.copy("native")
	if err != nil {
		return err
	}
	argv := append(below, "npm", "ci", "--prefer-offline", "--cache="+s.npm)
	t, output, err := s.run(ctx, dir, nativeEnv, argv[0], argv[1:]...)
	if err == nil && t.code != 0 {
		err = fmt.Errorf("%s exited with %d: %s", name, t.code, output)
	}
	if err == nil {
		// What a script made: a policy that skips scripts would make npm look fast.
		_, err = os.Stat(filepath.Join(dir, "node_modules", "esbuild", "bin", "esbuild"))
	}
	if err == nil {
		s.took(name, t)
	}
	return err
}

// outcome is what is looked at of a scan's result.
type outcome struct {
	Verdict    string    `json:"verdict"`
	Incomplete []string  `json:"incomplete"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	Sandbox    struct {
		ExitCode int    `json:"exit_code"`
		Reason   string `json:"reason"`
	} `json:"sandbox"`
	Counts map[string]int64 `json:"counts"`
}

func (s *scans) scan(ctx context.Context) error {
	file := filepath.Join(s.scratch, "result.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t, output, err := s.run(ctx, s.project, nil, s.Falconer, "scan", "--quiet", "--format=json", "--output="+file, "--download-cache="+s.cache, s.project)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("falconer scan exited with %d and left no result: %s", t.code, output)
	}
	var o outcome
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("falconer scan's result: %w", err)
	}
	if o.Sandbox.Reason != "completed" || o.Sandbox.ExitCode != 0 || len(o.Incomplete) > 0 {
		return fmt.Errorf("the scan is no fair measure: sandbox %s with %d, incomplete: %q", o.Sandbox.Reason, o.Sandbox.ExitCode, o.Incomplete)
	}
	s.took(scanTotal, t)
	if s.measured {
		s.sample(scanBefore, "s", o.Started.Sub(t.began).Seconds())
		s.sample(scanInstall, "s", o.Finished.Sub(o.Started).Seconds())
		s.sample(scanAfter, "s", t.began.Add(t.wall).Sub(o.Finished).Seconds())
		s.note(scanInstall, "s", fmt.Sprintf("verdict %s, %d sensor records", o.Verdict, o.Counts["sensor_events"]))
	}
	return nil
}

func (s *scans) took(name string, t took) {
	if !s.measured {
		return
	}
	s.sample(name, "s", t.wall.Seconds())
	s.sample(name, "cpu-s", t.cpu.Seconds())
	s.note(name, "cpu-s", t.how)
}

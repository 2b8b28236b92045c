package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// commonFlags are what scan and serve share.
type commonFlags struct {
	rules         string
	npmCache      string
	downloadCache string
	suppressions  string
	hosts         []string
	packages      map[string]string
	memory        string
	processes     int
	cpus          float64
	sandboxLogs   string
}

func (f *commonFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.rules, "rules", "", "use the rules in `DIR` (*.yaml, Falco's rule language) instead of the built-in ones")
	fl.StringVar(&f.npmCache, "cache", "", "an npm cache `DIR` (~/.npm) whose packages may be used; it is never written")
	fl.StringVar(&f.suppressions, "suppressions", "", "count the suppressions in `FILE`, which you vouch for (default $"+suppress.Variable+")")
	fl.StringVar(&f.downloadCache, "download-cache", "", "where downloads are kept (default $XDG_CACHE_HOME/falconer)")
	fl.StringToStringVar(&f.packages, "packages", nil, "folders of packages, as `KIND=DIR`: pypi (wheels and source archives), cargo (made by cargo vendor), gem, golang (a GOPROXY), composer, maven")
	fl.StringSliceVar(&f.hosts, "allow-host", nil, "further `HOST[:PORT]`s that packages may be fetched from")
	fl.StringVar(&f.memory, "memory", "4GiB", "memory of a sandbox, files written in it included")
	fl.IntVar(&f.processes, "processes", 2048, "processes and threads of a sandbox")
	fl.Float64Var(&f.cpus, "cpus", 0, "CPUs of a sandbox (default all)")
	fl.StringVar(&f.sandboxLogs, "sandbox-logs", "", "let gVisor write its own, detailed logs to `DIR`")
}

// node turns the flags into a configuration with state in dir.
func (f commonFlags) node(a *app, dir string) (nodeConfig, error) {
	memory, err := parseBytes(f.memory)
	if err != nil {
		return nodeConfig{}, fmt.Errorf("--memory: %w", err)
	}
	if memory < 128<<20 || f.processes < 16 || f.cpus < 0 {
		return nodeConfig{}, fmt.Errorf("a sandbox needs at least 128MiB of memory and 16 processes")
	}
	if info, err := os.Stat(f.npmCache); f.npmCache != "" && (err != nil || !info.IsDir()) {
		return nodeConfig{}, fmt.Errorf("--cache: there is no directory %s", f.npmCache)
	}
	cache := f.downloadCache
	if cache == "" {
		if cache, err = cacheDir(a.getenv); err != nil {
			return nodeConfig{}, err
		}
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nodeConfig{}, err
	}
	gateways, err := folders(f.packages)
	if err != nil {
		return nodeConfig{}, err
	}
	vouched, err := suppress.Central(cmp.Or(f.suppressions, a.getenv(suppress.Variable)))
	if err != nil {
		return nodeConfig{}, err
	}
	return nodeConfig{dir: dir, rulesDir: f.rules, cache: cache, npmCache: f.npmCache, sandboxLogs: f.sandboxLogs, hosts: f.hosts, gateways: gateways, suppressions: vouched,
		parallel: defaultParallel(), log: a.log(), environment: os.Environ(), getenv: a.getenv,
		limits: sandbox.Limits{MemoryBytes: memory, Processes: f.processes, CPUs: f.cpus}}, nil
}

// parseBytes reads a size such as "512MiB", "4G" or a number of bytes. Units
// are powers of 1024.
func parseBytes(s string) (int64, error) {
	number := strings.TrimRight(s, "iBKMGTkmgt")
	unit := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(s[len(number):], "B"), "i"))
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !ok || n < 0 || n > 1<<20<<20>>shift {
		return 0, fmt.Errorf("%q is not a size like 512MiB or 4GiB", s)
	}
	return n << shift, nil
}

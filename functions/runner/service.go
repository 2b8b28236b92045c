package runner

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Longest is how long a request may take: a scan of the longest wall time, and
// its downloads. The Trigger's timeout is as long.
const Longest = scan.MaxTimeout + 5*time.Minute

// maxConcurrency bounds FALCONER_RUNNER_CONCURRENCY against slips of the pen.
const maxConcurrency = 64

// Service makes the runner as a process of its own, on gVisor. The program's
// main calls runtime.Dispatch of package gvisor/runtime first. It reads
//
//	FALCONER_RUNNER_CONCURRENCY  scans at a time; by default one for two CPUs
//	FALCONER_RUNNER_MEMORY_MIB   memory of one sandbox; the driver's default
//	FALCONER_CACHE_DIR           downloads, by default in the temporary directory
//	FALCONER_ALLOW_HOSTS         further hosts that packages may come from,
//	                             separated by commas
//	FALCONER_RULES_DIR           rules in place of the shipped ones
//
// and needs NATS_URL and K_SINK. Registries are those that npm is set up for
// where the runner runs.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	parallel, err := number(d.Env, "FALCONER_RUNNER_CONCURRENCY", max(1, runtime.NumCPU()/2), 1, maxConcurrency)
	if err != nil {
		return nil, err
	}
	memory, err := number(d.Env, "FALCONER_RUNNER_MEMORY_MIB", gvisor.DefaultMemory>>20, 128, 1<<20)
	if err != nil {
		return nil, err
	}
	deps, err := open(d)
	if err != nil {
		return nil, err
	}
	deps.Limits = sandbox.Limits{MemoryBytes: int64(memory) << 20}
	return newQueue(parallel, New(deps)), nil
}

// open opens the stores and the driver.
func open(d serve.Deps) (Deps, error) {
	set, err := shipped.Load(d.Env("FALCONER_RULES_DIR"))
	if err != nil {
		return Deps{}, err
	}
	driver, err := gvisor.New(gvisor.Config{Rules: set, Log: d.Log})
	if err != nil {
		return Deps{}, err
	}
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return Deps{}, fault.New("runner: open JetStream", fault.Permanent, err)
	}
	sources, err := source.OpenStore(d.Context, js, source.StoreConfig{TTL: source.Keep})
	if err != nil {
		return Deps{}, err
	}
	store, err := alerts.Open(d.Context, d.NATS, alerts.Config{Log: d.Log})
	if err != nil {
		return Deps{}, err
	}
	published, err := results.Open(d.Context, d.NATS, results.Config{})
	if err != nil {
		return Deps{}, err
	}
	ledger, err := OpenLedger(d.Context, d.NATS, published)
	if err != nil {
		return Deps{}, err
	}
	return Deps{
		Sources: sources, Managers: map[string]ecosystem.Manager{npm.Manager{}.Name(): npm.Manager{}}, Mirror: registries(d).Mirror,
		Driver: driver, Kind: "gvisor", Alerts: alerts.Sink{Store: store}, Emit: d.Emitter, Ledger: ledger, Scripts: npm.InstallScripts, Log: d.Log,
	}, nil
}

func registries(d serve.Deps) *Registries {
	cache := d.Env("FALCONER_CACHE_DIR")
	if cache == "" {
		cache = filepath.Join(os.TempDir(), "falconer-cache")
	}
	hosts := strings.FieldsFunc(d.Env("FALCONER_ALLOW_HOSTS"), func(r rune) bool { return r == ',' || r == ' ' })
	return &Registries{Env: os.Environ(), Cache: cache, Hosts: hosts, Log: d.Log}
}

// number reads an environment variable.
func number(env func(string) string, name string, fallback, least, most int) (int, error) {
	text := env(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.Errorf(fault.Permanent, "%s is %.20q, not a number from %d to %d", name, text, least, most)
	}
	return n, nil
}

package depot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

var key = ticket.Key(strings.Repeat("k", ticket.MinKey))

// rig is a depot on real stores, before a registry in memory.
type rig struct {
	t       *testing.T
	nc      *nats.Conn
	npm     *registrytest.Registry
	runs    *runs.Store
	sources *source.JetStream
	cache   string
	limits  depot.Limits
	logs    *brokenLogs
	depot   *depot.Depot
	stop    func()
	server  *httptest.Server
	now     atomic.Int64
}

// brokenLogs is the store of logs, which can be made to fail.
type brokenLogs struct {
	depot.Logs
	broken atomic.Bool
	open   atomic.Bool // only logs that are open can be stored
}

func (l *brokenLogs) Save(ctx context.Context, id scan.ID, attempt, unchanged int, r fetches.Record) error {
	if l.broken.Load() || l.open.Load() && !r.Open {
		return errors.New("the store is away")
	}
	return l.Logs.Save(ctx, id, attempt, unchanged, r)
}

// handler is the depot of the moment, behind one address.
func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.depot.ServeHTTP(w, req) }

func newRig(t *testing.T, l depot.Limits) *rig {
	t.Helper()
	r := &rig{t: t, nc: eventtest.NATS(t), npm: registrytest.New(), cache: t.TempDir(), limits: l}
	r.now.Store(time.Now().UnixNano())
	js, err := jetstream.New(r.nc)
	r.must(err)
	r.sources, err = source.OpenStore(t.Context(), js, source.StoreConfig{})
	r.must(err)
	r.runs, err = runs.Open(t.Context(), r.nc)
	r.must(err)
	store, err := fetches.Open(t.Context(), r.nc)
	r.must(err)
	r.logs = &brokenLogs{Logs: store}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start makes the depot, as a new process would.
func (r *rig) start() {
	r.t.Helper()
	marks, err := depot.OpenMarks(r.t.Context(), r.nc)
	r.must(err)
	o := registry.Options{Config: registry.Config{Registry: r.npm.Start(r.t)}, Cache: r.cache, Backoff: time.Millisecond}
	mirror, err := registry.New(o)
	r.must(err)
	o.Offline = true
	offline, err := registry.New(o)
	r.must(err)
	r.depot, err = depot.New(depot.Config{
		Key: key, Base: r.server.URL, Runs: r.runs, Sources: r.sources, Logs: r.logs, Marks: marks,
		Managers: map[string]ecosystem.Manager{"npm": npm.Manager{}}, Mirror: mirror, Offline: offline,
		Scratch: r.t.TempDir(), Limits: r.limits, Log: eventtest.Log(r.t), Now: func() time.Time { return time.Unix(0, r.now.Load()) },
	})
	r.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); r.depot.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
}

// kill replaces the depot by a new one without letting it store anything.
func (r *rig) kill() {
	r.logs.broken.Store(true)
	r.stop()
	r.logs.broken.Store(false)
	r.logs.open.Store(false)
	r.start()
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// scan stores a project with the given lockfile as the source of a new scan.
func (r *rig) scan(name, lockfile string) scan.ID {
	r.t.Helper()
	dir := r.t.TempDir()
	r.must(os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"name":"project","version":"1.0.0","dependencies":{"a":"1.0.0"}}`), 0o600))
	r.must(os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte(lockfile), 0o600))
	return r.scanOf(name, dir)
}

// scanOf stores a folder as the source of a new scan, attempt 1.
func (r *rig) scanOf(name, dir string) scan.ID {
	r.t.Helper()
	var archive bytes.Buffer
	_, err := source.Pack(r.t.Context(), dir, &archive, source.Limits{})
	r.must(err)
	src, err := r.sources.Put(r.t.Context(), &archive)
	r.must(err)
	project, err := npm.Manager{}.Load(os.DirFS(dir), ".")
	r.must(err)
	req := scan.Request{Project: name, Commit: "c", Root: ".", Manager: "npm", Lockfile: project.Lockfile, Digest: project.Digest, Source: src}
	req.ID = req.Key().ID()
	r.must(r.runs.Put(r.t.Context(), runs.Run{Request: req, Attempt: 1, Job: "job"}))
	return req.ID
}

func (r *rig) path(purpose string, id scan.ID) string {
	return key.Path(purpose, id, 1, time.Unix(0, r.now.Load()).Add(time.Minute))
}

// get asks the depot for a path.
func (r *rig) get(path string) (int, string) {
	r.t.Helper()
	res, err := http.Get(r.server.URL + path)
	r.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	r.must(err)
	return res.StatusCode, string(b)
}

// log asks the depot what was fetched, as jobwatch does.
func (r *rig) log(id scan.ID) fetches.Log {
	r.t.Helper()
	c := fetches.Client{URL: r.server.URL, Key: key, HTTP: http.DefaultClient, Now: func() time.Time { return time.Unix(0, r.now.Load()) }}
	l, err := c.Fetches(r.t.Context(), id, 1)
	r.must(err)
	return l
}

// publish adds a package and returns the lockfile of a project that has it.
func (r *rig) publish(name string) (lockfile string, p registrytest.Package) {
	r.t.Helper()
	p, err := r.npm.Add(registrytest.Files{"package.json": `{"name":"` + name + `","version":"1.0.0"}`, "filler": strings.Repeat(name, 20_000)})
	r.must(err)
	b, err := json.Marshal(map[string]any{"name": "project", "version": "1.0.0", "lockfileVersion": 3, "packages": map[string]any{
		"":                     map[string]any{"name": "project", "version": "1.0.0", "dependencies": map[string]string{name: "1.0.0"}},
		"node_modules/" + name: map[string]any{"version": "1.0.0", "integrity": p.Integrity},
	}})
	r.must(err)
	return string(b), p
}

func kindOf(err error) string { return fault.KindOf(err).String() }

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/functions/sensor"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
)

const testScan = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ac")

// cluster is everything around the sensor: the API server that knows the pod,
// the scan's lockfile, the gate and the broker.
type cluster struct {
	mu      sync.Mutex
	alerts  []falco.Alert
	reports chan event.SensorReport
}

func (*cluster) Await(_ context.Context, id string) (sensor.Container, bool) {
	return sensor.Container{ID: id, Scan: testScan, Attempt: 1, Pod: "p", Judged: id == "install"}, id != "sandbox"
}
func (*cluster) Ended(context.Context, string) bool                         { return false }
func (*cluster) Running(context.Context) (list []sensor.Container, _ error) { return list, nil }
func (*cluster) Load(context.Context, scan.ID) (sensor.Job, error) {
	return sensor.Job{Manager: npm.Manager{}, Project: ecosystem.Project{Manager: "npm", Root: ".", Packages: []ecosystem.Package{
		{Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1", Name: "left-pat", Version: "1.3.1", Path: "node_modules/left-pat"}}}}}, nil
}

func (c *cluster) Put(_ context.Context, _ scan.ID, list []falco.Alert) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alerts = append(c.alerts, list...)
	return nil
}

func (c *cluster) Emit(_ context.Context, e ce.Event) error {
	r, err := event.Decode[event.SensorReport](e)
	if err == nil {
		c.reports <- r
	}
	return err
}

// start runs the sensor and returns the trace session that an administrator
// would write for stock gVisor to report to it.
func (c *cluster) start(t *testing.T) (session string) {
	t.Helper()
	set, err := shipped.Load("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := sensor.New(sensor.Deps{Pods: c, Jobs: c, Rules: set, Points: remote.StockPoints(), Alerts: c, Emit: c, Node: "node-1", Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := sensor.Listen(filepath.Join(dir, "events.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	type point struct {
		Name    string   `json:"name"`
		Context []string `json:"context_fields"`
	}
	var points []point
	for _, name := range remote.StockPoints() {
		points = append(points, point{name, []string{"container_id"}})
	}
	raw, err := json.Marshal(map[string]any{"trace_session": map[string]any{"name": "Default", "points": points,
		"sinks": []any{map[string]any{"name": "remote", "config": map[string]any{"endpoint": filepath.Join(dir, "events.sock"), "retries": 100000, "backoff": "20us"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	session = filepath.Join(dir, "trace.json")
	if err := os.WriteFile(session, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return session
}

// install plays the package manager: it starts one package's script as npm does.
const install = `#!/bin/sh
cd /builds/project/node_modules/left-pat || exit 1
export npm_lifecycle_event=postinstall npm_lifecycle_script=". ./script" npm_package_json=$PWD/package.json
exec_path=. sh -c ". ./script"
`

// script does what stock gVisor does not show, after a read that it does. The
// process that calls itself something that is no text comes first: under stock
// gVisor nothing that it does is reported.
const script = `
ln -s /root/.ssh /tmp/l
cat /tmp/l/id_rsa >/dev/null
perl -e '$p = "/root/.netrc"; $how = pack("Q3", 0, 0, 0); syscall(437, -100, $p, $how, 24)'
perl -e '$n = "\xff\xfe"; syscall(157, 15, $n, 0, 0, 0); open(F, "<", "/root/.git-credentials")'
mv /root/.aws/credentials /tmp/moved
cp /bin/true /tmp/x
chmod 4755 /tmp/x
perl -e '$n = "m"; syscall(319, $n, 0)'
perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "x", 0, sockaddr_in(53, inet_aton("203.0.113.7")))'
true
`

// TestPodIsWatched runs a scan's pod on our runtime with stock gVisor's trace
// session: the sensor tells its containers apart and sees what stock gVisor
// has no point for.
func TestPodIsWatched(t *testing.T) {
	c := &cluster{reports: make(chan event.SensorReport, 4)}
	p := newPod(t, c.start(t))
	secrets := map[string]string{"root/.ssh/id_rsa": "k", "root/.netrc": "n", "root/.git-credentials": "g", "root/.aws/credentials": "a"}
	p.create("sandbox", "", []string{"/usr/bin/sleep", "600"}, nil, nil)
	p.start("sandbox")
	p.create("stage", "sandbox", []string{"/bin/cat", "/root/.ssh/id_rsa"}, nil, secrets)
	p.start("stage")
	if code := p.ended(p.wait("stage")); code != 0 {
		t.Fatalf("the init container ended with %d", code)
	}
	p.do("delete", "stage")

	files := map[string]string{"opt/bin/npm": install, "builds/project/node_modules/left-pat/script": script}
	for name, text := range secrets {
		files[name] = text
	}
	p.create("install", "sandbox", guest.UnderInit([]string{"npm", "ci"}), []string{"HOME=/root", falco.MarkerEnv + "=" + string(testScan)}, files)
	output := p.start("install")
	if code := p.ended(p.wait("install")); code != 0 {
		said, _ := os.ReadFile(output)
		t.Fatalf("the install ended with %d: %s", code, said)
	}
	var rep event.SensorReport
	select {
	case rep = <-c.reports:
	case <-time.After(30 * time.Second):
		t.Fatal("no report")
	}
	if rep.Container != "install" || rep.Lost || rep.Dropped != 0 || len(rep.Incomplete) > 0 || len(rep.Unwatched) > 0 {
		t.Errorf("%+v", rep)
	}
	c.mu.Lock()
	var got []string
	for _, a := range c.alerts {
		if a.Field(falco.FieldPackage) != "pkg:npm/left-pat@1.3.1" || a.Field(falco.FieldScript) != "postinstall" {
			t.Errorf("%s is attributed to %q, %q", a.Rule, a.Field(falco.FieldPackage), a.Field(falco.FieldScript))
		}
		got = append(got, strings.Join([]string{a.Rule, a.Field("evt.type"), a.Field("fd.name")}, " | "))
	}
	c.mu.Unlock()
	slices.Sort(got)
	want := []string{
		"Credential file linked or moved | symlinkat | /tmp/l",
		"Credential file read | openat | /root/.aws/credentials",
		"Credential file read | openat | /root/.git-credentials",
		"Credential file read | openat | /root/.ssh/id_rsa",
		"Credential file read | openat2 | /root/.netrc",
		"Credential file removed | unlinkat | /root/.aws/credentials",
		"Interpreter one-liner | execve | /usr/bin/perl",
		"Memory file created | memfd_create | memfd:m",
		"Name looked up by a lifecycle script | sendto | 203.0.113.7:53",
		"Setuid bit set | fchmodat | /tmp/x",
		"Staged file made executable | fchmodat | /tmp/x",
		"Staged file made executable | openat | /tmp/moved",
		"Staged file made executable | openat | /tmp/x",
		"Suspicious interpreter one-liner | execve | /usr/bin/perl",
	}
	if d := cmp.Diff(want, slices.Compact(got)); d != "" {
		t.Error(d)
	}
	p.do("delete", "install")
	p.end("sandbox")
}

package sensor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
	"github.com/falconer-sec/falconer/pkg/sensor/remote/remotetest"
)

const testScan = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ac")

// containers returns the IDs of the session's init and main container.
func containers(t testing.TB, list [][]byte) (stage, install string) {
	t.Helper()
	for _, b := range list[1:] {
		_, m, ok, err := remote.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		switch argv := strings.Join(m.Record.Argv, " "); {
		case !ok || m.Record.Kind != record.KindStart:
		case strings.Contains(argv, "npm ci"):
			install = m.Container
		case strings.Contains(argv, "id_rsa"):
			stage = m.Container
		}
	}
	if stage == "" || install == "" {
		t.Fatal("the recorded session lacks a container")
	}
	return stage, install
}

// afterConnect is where the session is once the script has connected out.
func afterConnect(t testing.TB, list [][]byte) int {
	t.Helper()
	for i, b := range list[1:] {
		_, m, ok, err := remote.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if ap, inet := m.Record.AddrPort(); ok && inet && m.Record.Kind == "connect" && ap.Port() == 443 {
			return i + 2
		}
	}
	t.Fatal("the recorded session lacks the connection")
	return 0
}

// pods is a Pods whose answers are given.
type pods struct {
	mu      sync.Mutex
	known   map[string]Container
	wait    chan struct{} // Await waits for it, if set
	running []Container
	over    bool // every container has ended
}

func (p *pods) Await(ctx context.Context, id string) (Container, bool) {
	if p.wait != nil {
		select {
		case <-p.wait:
		case <-ctx.Done():
			return Container{}, false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.known[id]
	return c, ok
}

func (p *pods) Ended(context.Context, string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

func (p *pods) Running(context.Context) ([]Container, error) { return p.running, nil }

// memory is the alert store, and the broker.
type memory struct {
	mu      sync.Mutex
	alerts  []falco.Alert
	reports chan event.SensorReport
	events  []ce.Event
	away    int           // emissions that fail
	full    chan struct{} // Put waits for it, if set
}

func (m *memory) Put(ctx context.Context, _ scan.ID, list []falco.Alert) error {
	if m.full != nil {
		select {
		case <-m.full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alerts = append(m.alerts, list...)
	return nil
}

func (m *memory) Emit(_ context.Context, e ce.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away > 0 {
		m.away--
		return errors.New("the broker is away")
	}
	r, err := event.Decode[event.SensorReport](e)
	if err != nil {
		return err
	}
	m.events = append(m.events, e)
	m.reports <- r
	return nil
}

// jobs knows one project.
type jobs struct{ err error }

func (j jobs) Load(context.Context, scan.ID) (Job, error) {
	return Job{Manager: npm.Manager{}, Run: runs.Run{Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		Project: ecosystem.Project{Manager: "npm", Root: ".", Packages: []ecosystem.Package{
			{Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1", Name: "left-pat", Version: "1.3.1", Path: "node_modules/left-pat"}}}}}, j.err
}

type rig struct {
	t       *testing.T
	pods    *pods
	memory  *memory
	socket  string
	stop    context.CancelFunc
	stopped chan error
}

func newRig(t *testing.T, p *pods, j Jobs) *rig {
	t.Helper()
	set, err := shipped.Load("")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, pods: p, memory: &memory{reports: make(chan event.SensorReport, 10)}, socket: filepath.Join(t.TempDir(), "events.sock"), stopped: make(chan error, 1)}
	s, err := New(Deps{Pods: p, Jobs: j, Rules: set, Points: remote.StockPoints(), Alerts: r.memory, Emit: r.memory, Node: "node-1", Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.stopped <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.stopped; err != nil {
			t.Error(err)
		}
	})
	return r
}

// connect opens a session as a sandbox's kernel does.
func (r *rig) connect(hello []byte) *net.UnixConn {
	r.t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: r.socket, Net: "unixpacket"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_, werr := conn.Write(hello)
	_, err = conn.Read(make([]byte, 64))
	if err = errors.Join(werr, err); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

func (r *rig) send(conn *net.UnixConn, list [][]byte) {
	r.t.Helper()
	for _, b := range list {
		if err := conn.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
			r.t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) report() event.SensorReport {
	r.t.Helper()
	select {
	case rep := <-r.memory.reports:
		return rep
	case <-time.After(30 * time.Second):
		r.t.Fatal("no report")
		return event.SensorReport{}
	}
}

func known(list [][]byte, t testing.TB) *pods {
	stage, install := containers(t, list)
	return &pods{known: map[string]Container{
		stage:   {ID: stage, Scan: testScan, Attempt: 1, Pod: "p"},
		install: {ID: install, Scan: testScan, Attempt: 1, Pod: "p", Judged: true},
	}}
}

// found lists what the alerts are about.
func (m *memory) found() (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.alerts {
		list = append(list, strings.Join([]string{a.Rule, a.Field(falco.FieldPackage), a.Field(falco.FieldScript), a.Field("fd.name"), a.Field(falco.FieldScanID)}, " "))
	}
	return list
}

var wantFound = []string{
	"Credential file read pkg:npm/left-pat@1.3.1 postinstall /home/build/.ssh/id_rsa " + string(testScan),
	"Connection off the registry pkg:npm/left-pat@1.3.1 postinstall 203.0.113.9:443 " + string(testScan),
}

// TestRecordedPod plays a real pod's session: what the init container does with
// the key is not judged.
func TestRecordedPod(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	r := newRig(t, known(list, t), jobs{})
	r.memory.away = 2 // the broker answers the third time
	r.send(r.connect(list[0]), list[1:])
	rep := r.report()
	if d := cmp.Diff(wantFound, r.memory.found()); d != "" {
		t.Error(d)
	}
	_, install := containers(t, list)
	if rep.ScanID != testScan || rep.Attempt != 1 || rep.Container != install || rep.Node != "node-1" || rep.AlertsStored != 2 || rep.SensorEvents < 500 || rep.Lost || len(rep.Incomplete) > 0 || len(rep.Unwatched) == 0 {
		t.Errorf("%+v", rep)
	}
	e := r.memory.events[0]
	if e.Type() != event.SensorReported || e.Subject() != string(testScan) || event.Extension(e, event.ExtTraceparent) == "" {
		t.Errorf("%v", e)
	}
}

// TestPodKnownLate has everything sent before the API server tells whose
// container it is.
func TestPodKnownLate(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	p := known(list, t)
	p.wait = make(chan struct{})
	r := newRig(t, p, jobs{})
	conn := r.connect(list[0])
	r.send(conn, list[1:])
	_ = conn.Close()
	close(p.wait)
	if rep := r.report(); rep.AlertsStored != 2 || len(rep.Incomplete) > 0 {
		t.Errorf("%+v", rep)
	}
}

// TestStranger reads a pod's records that is no scan's, however many: nothing
// waits, nothing is reported.
func TestStranger(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	r := newRig(t, &pods{}, jobs{})
	conn := r.connect(list[0])
	for range 20 {
		r.send(conn, list[1:])
	}
	_ = conn.Close()
	r.stop()
	<-r.stopped
	r.stopped <- nil
	if len(r.memory.reports) > 0 || len(r.memory.found()) > 0 {
		t.Errorf("reports and alerts of a pod that is no scan: %v", r.memory.found())
	}
}

func TestLockfileThatCannotBeRead(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	r := newRig(t, known(list, t), jobs{errors.New("gone")})
	r.send(r.connect(list[0]), list[1:])
	rep := r.report()
	if len(rep.Incomplete) != 1 || !strings.Contains(rep.Incomplete[0], "lockfile") {
		t.Errorf("%q", rep.Incomplete)
	}
	if got := r.memory.found(); len(got) != 2 || !strings.Contains(got[0], "pkg:npm/left-pat postinstall") {
		t.Errorf("%q", got)
	}
}

// TestBrokenOff ends sessions before their sandbox.
func TestBrokenOff(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	for name, tt := range map[string]struct {
		over       bool
		after      func(r *rig, conn *net.UnixConn)
		lost       bool
		incomplete string
	}{
		"the sensor is stopped": {false, func(r *rig, _ *net.UnixConn) { r.stop() }, true, "was stopped"},
		"garbage":               {false, func(r *rig, conn *net.UnixConn) { r.send(conn, [][]byte{{1}}) }, true, "can't be read"},
		"killed with its pod":   {true, func(_ *rig, conn *net.UnixConn) { _ = conn.Close() }, false, ""},
		"hung up":               {false, func(_ *rig, conn *net.UnixConn) { _ = conn.Close() }, true, "hung up"},
	} {
		t.Run(name, func(t *testing.T) {
			p := known(list, t)
			p.over = tt.over
			r := newRig(t, p, jobs{})
			conn := r.connect(list[0])
			r.send(conn, list[1:afterConnect(t, list)])
			for until := time.Now().Add(20 * time.Second); len(r.memory.found()) < 2; time.Sleep(time.Millisecond) { // all is read
				if time.Now().After(until) {
					t.Fatalf("only %q", r.memory.found())
				}
			}
			tt.after(r, conn)
			rep := r.report()
			if rep.Lost != tt.lost || !strings.Contains(strings.Join(rep.Incomplete, ";"), tt.incomplete) || (tt.incomplete == "") != (len(rep.Incomplete) == 0) || rep.AlertsStored != 2 {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestDropped has the kernel say that it lost events.
func TestDropped(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	for _, b := range list[len(list)/2:] {
		binary.LittleEndian.PutUint32(b[4:], 9)
	}
	r := newRig(t, known(list, t), jobs{})
	r.send(r.connect(list[0]), list[1:])
	if rep := r.report(); rep.Dropped != 9 || len(rep.Incomplete) != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestGateAway stalls the sandbox while alerts can't be stored, and goes on.
func TestGateAway(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	r := newRig(t, known(list, t), jobs{})
	r.memory.full = make(chan struct{})
	conn := r.connect(list[0])
	r.send(conn, list[1:])
	select {
	case rep := <-r.memory.reports:
		t.Fatalf("reported before its alerts were stored: %+v", rep)
	case <-time.After(300 * time.Millisecond):
	}
	close(r.memory.full)
	if rep := r.report(); rep.AlertsStored != 2 || len(rep.Incomplete) > 0 {
		t.Errorf("%+v", rep)
	}
}

// TestScansFromBefore reports the scans that run when the sensor starts: those
// that another one watched.
func TestScansFromBefore(t *testing.T) {
	r := newRig(t, &pods{running: []Container{{ID: "c1", Scan: testScan, Attempt: 2, Judged: true}}}, jobs{})
	rep := r.report()
	if !rep.Lost || rep.Attempt != 2 || rep.Container != "c1" || len(rep.Incomplete) != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestManySandboxes reads several sessions at once.
func TestManySandboxes(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	r := newRig(t, known(list, t), jobs{})
	const n = 8
	var wg sync.WaitGroup
	for range n {
		conn := r.connect(list[0])
		wg.Go(func() {
			for _, b := range list[1:] {
				if _, err := conn.Write(b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range n {
		if rep := r.report(); rep.AlertsStored != 2 || len(rep.Incomplete) > 0 {
			t.Errorf("%+v", rep)
		}
	}
}

func TestListenReplacesASocketOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as one that is killed leaves it
	_ = l.Close()
	again, err := Listen(path)
	if err != nil {
		t.Fatal("a socket that is left: ", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
	_ = again.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file is replaced")
	}
}

func TestReportFollowsItsSchema(t *testing.T) {
	r := event.SensorReport{ScanID: testScan, Outlived: firstOf(strings.Fields(strings.Repeat("x ", 50)), maxOutlived)}
	if len(r.Outlived) != maxOutlived+1 || r.Outlived[maxOutlived] != "and 30 more" {
		t.Errorf("%q", r.Outlived)
	}
	if b, err := json.Marshal(r); err != nil || len(b) > 4096 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

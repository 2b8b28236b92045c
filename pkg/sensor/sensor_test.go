package sensor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/sensor"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// manager takes "sh -c hook:NAME" as the lifecycle script of package NAME.
type manager struct{}

func (manager) Name() string                                                     { return "test" }
func (manager) Detect(fs.FS) ([]string, error)                                   { return nil, nil }
func (manager) Load(fs.FS, string) (ecosystem.Project, error)                    { return ecosystem.Project{}, nil }
func (manager) Recipe(ecosystem.Project, ecosystem.Setting) (r ecosystem.Recipe) { return r }
func (manager) Place(_ ecosystem.Project, _ ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	name, ok := strings.CutPrefix(strings.Join(e.Argv, " "), "sh -c hook:")
	return ecosystem.Place{Package: finding.Package{PURL: "pkg:test/" + name}, Script: "postinstall", Phase: "install"}, ok
}

type memory struct {
	mu     sync.Mutex
	alerts []falco.Alert
	fail   error
	slow   time.Duration
}

func (m *memory) Put(ctx context.Context, _ scan.ID, a []falco.Alert) error {
	time.Sleep(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.alerts = append(m.alerts, a...)
	return nil
}

const everyOpen = `
- rule: open
  desc: d
  condition: evt.type = openat
  output: "%fd.name %proc.name %proc.pname %proc.aname[2] %falconer.package %falconer.script %falconer.in_lifecycle %falconer.detached %evt.res"
  priority: NOTICE
`

// watch sends records to a sensor as a kernel would and returns what it saw.
func watch(t testing.TB, m *memory, ruleText string, dropped uint32, records ...record.Record) sensor.Summary {
	t.Helper()
	return watchAs(t, false, m, ruleText, dropped, records...)
}

func watchAs(t testing.TB, init bool, m *memory, ruleText string, dropped uint32, records ...record.Record) sensor.Summary {
	t.Helper()
	set, err := rules.Load(rules.SensorFields(), rules.File{Name: "t.yaml", Data: []byte(ruleText)})
	if err != nil {
		t.Fatal(err)
	}
	s := sensor.New(sensor.Config{ScanID: scan.Key{Project: "p"}.ID(), Container: "c", Rules: set, Manager: manager{}, Alerts: m, Init: init, Log: slog.New(slog.DiscardHandler)})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan sensor.Summary)
	go func() { done <- s.Serve(t.Context(), l) }()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(record.Hello); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if _, err := conn.Write(record.AppendFrame(nil, dropped, &r)); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.Close()
	return <-done
}

func start() record.Record {
	return record.Record{Kind: record.KindStart, TID: 1, TGID: 1, Argv: []string{"npm", "ci"}}
}
func fork(parent, child int32) record.Record {
	return record.Record{Kind: record.KindClone, TID: parent, TGID: parent, ChildTID: child, ChildTGID: child}
}
func exec(pid int32, argv ...string) record.Record {
	return record.Record{Kind: record.KindExec, TID: pid, TGID: pid, Exe: "/usr/bin/" + argv[0], Argv: argv, Comm: argv[0]}
}
func open(pid int32, name string) record.Record {
	return record.Record{Kind: "openat", TID: pid, TGID: pid, Path: name, HasResult: true, Result: 3}
}
func exit(pid int32) record.Record { return record.Record{Kind: record.KindExit, TID: pid, TGID: pid} }

// TestAttribution checks what the process table makes of ancestry.
func TestAttribution(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records []record.Record
		want    string
	}{
		{"the manager itself", []record.Record{start(), open(1, "/f")}, "/f npm <NA> <NA> <NA> <NA> false false SUCCESS"},
		{"a script", []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), open(2, "/f")}, "/f sh npm <NA> pkg:test/a postinstall true false SUCCESS"},
		{"a script's grandchild", []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), fork(2, 3), exec(3, "node", "x.js"), fork(3, 4), open(4, "/f")},
			"/f node node sh pkg:test/a postinstall true false SUCCESS"},
		{"one that outlives its parents", []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), fork(2, 3), exit(2), open(3, "/f")},
			"/f sh sh npm pkg:test/a postinstall true true SUCCESS"},
		{"a script that says it is another", []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), fork(2, 3), exec(3, "sh", "-c", "hook:b"), open(3, "/f")},
			"/f sh sh npm pkg:test/a postinstall true false SUCCESS"},
		{"a process ID used again", []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), exit(2), fork(1, 2), exec(2, "sh", "-c", "hook:b"), open(2, "/f")},
			"/f sh npm <NA> pkg:test/b postinstall true false SUCCESS"},
		{"something else that the manager starts", []record.Record{start(), fork(1, 2), exec(2, "git", "clone"), open(2, "/f")}, "/f git npm <NA> <NA> <NA> true false SUCCESS"},
		{"a process never seen to start", []record.Record{start(), open(9, "/f")}, "/f <NA> <NA> <NA> <NA> <NA> true false SUCCESS"},
	} {
		var m memory
		sum := watch(t, &m, everyOpen, 0, tt.records...)
		if len(m.alerts) != 1 || len(sum.Incomplete) > 0 {
			t.Errorf("%s: %d alerts, incomplete %q", tt.name, len(m.alerts), sum.Incomplete)
			continue
		}
		if _, got, _ := strings.Cut(m.alerts[0].Output, "Notice "); got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// TestChain shows what a process was before, and who started it.
func TestChain(t *testing.T) {
	var m memory
	watch(t, &m, everyOpen, 0, start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), exec(2, "node", "a.js"), fork(2, 3), exec(3, "cat", "k"), open(3, "/k"))
	want := []string{"npm ci", "sh -c hook:a", "node a.js", "cat k"}
	if got := m.alerts[0].List(falco.FieldChain); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestInit takes the first child of an init for the package manager, leaves the
// init out of chains, and lists what outlives it.
func TestInit(t *testing.T) {
	var m memory
	sum := watchAs(t, true, &m, everyOpen, 0, start(), fork(1, 2), exec(2, "npm", "ci", "--switch"), exec(2, "node", "npm", "ci", "--switch"), fork(2, 3), exec(3, "sh", "-c", "hook:a"), fork(3, 4), exec(4, "sleep", "60"),
		open(4, "/f"), open(2, "/own"), exit(3), exit(2), exit(1))
	if got := m.alerts[0].List(falco.FieldChain); fmt.Sprint(got) != fmt.Sprint([]string{"npm ci", "sh -c hook:a", "sleep 60"}) {
		t.Errorf("chain %q", got)
	}
	if m.alerts[0].Field(falco.FieldPackage) != "pkg:test/a" || m.alerts[1].Field(falco.FieldPackage) != "" {
		t.Errorf("attributed to %q and %q", m.alerts[0].Field(falco.FieldPackage), m.alerts[1].Field(falco.FieldPackage))
	}
	if fmt.Sprint(sum.Outlived) != "[sleep 60]" {
		t.Errorf("outlived: %q", sum.Outlived)
	}
}

// TestFlood caps the alerts of one rule and package, and counts the others.
func TestFlood(t *testing.T) {
	records := []record.Record{start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"), fork(1, 3), exec(3, "sh", "-c", "hook:b")}
	for i := range 5000 {
		records = append(records, open(2, fmt.Sprint("/f", i)))
	}
	records = append(records, open(3, "/theirs"))
	m := memory{slow: time.Millisecond}
	sum := watch(t, &m, everyOpen, 0, records...)
	if sum.Stored != sensor.MaxPerRule+1 || sum.Capped != 5000-sensor.MaxPerRule || sum.Events != int64(len(records)) {
		t.Errorf("got %+v", sum)
	}
	if last := m.alerts[len(m.alerts)-1]; last.Field(falco.FieldPackage) != "pkg:test/b" {
		t.Errorf("the other package's alert is lost, last is %v", last)
	}
}

// TestIncomplete expects each way to lose something to be said.
func TestIncomplete(t *testing.T) {
	sum := watch(t, &memory{}, everyOpen, 3, start())
	if sum.Dropped != 3 || !strings.Contains(fmt.Sprint(sum.Incomplete), "lost 3 of the sandbox's events") {
		t.Errorf("dropped events: %+v", sum)
	}
	sum = watch(t, &memory{fail: errors.New("disk full")}, everyOpen, 0, start(), open(1, "/f"))
	if !strings.Contains(fmt.Sprint(sum.Incomplete), "disk full") {
		t.Errorf("a failing store: %+v", sum)
	}
	sum = watch(t, &memory{}, everyOpen, 0, start(), record.Record{})
	if !strings.Contains(fmt.Sprint(sum.Incomplete), "can't be read") {
		t.Errorf("a malformed record: %+v", sum)
	}
}

// TestFields checks that a field has values if, and only if, rules may have
// conditions on it.
func TestFields(t *testing.T) {
	for _, f := range rules.SensorFields().All() {
		if got := sensor.Supplies(f.ID); got == (f.Type == rules.None) {
			t.Errorf("%s, a %s: supplied %v", f.Name, f.Type, got)
		}
	}
}

// TestNoSilentMiss refuses a condition on a field that never has a value.
func TestNoSilentMiss(t *testing.T) {
	text := strings.Replace(everyOpen, "evt.type = openat", "evt.type = connect and fd.cport = 1", 1)
	_, err := rules.Load(rules.SensorFields(), rules.File{Name: "t.yaml", Data: []byte(text)})
	if err == nil || !strings.Contains(err.Error(), "t.yaml:4") || !strings.Contains(err.Error(), "fd.cport") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkSensor is what one system call costs the sensor, with a rule that
// looks at it and doesn't match.
func BenchmarkSensor(b *testing.B) {
	m := &memory{}
	records := make([]record.Record, 0, b.N+3)
	records = append(records, start(), fork(1, 2), exec(2, "sh", "-c", "hook:a"))
	for range b.N {
		records = append(records, open(2, "/builds/project/node_modules/a/index.js"))
	}
	b.ResetTimer()
	watch(b, m, strings.Replace(everyOpen, "evt.type = openat", "evt.type = openat and fd.name contains secret", 1), 0, records...)
}

func TestTheMarkIsReported(t *testing.T) {
	if !slices.Contains(sensor.EnvNames, falco.MarkerEnv) {
		t.Errorf("%s is not among %q", falco.MarkerEnv, sensor.EnvNames)
	}
}

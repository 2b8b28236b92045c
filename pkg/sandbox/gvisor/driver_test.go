package gvisor_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// program is a statically linked falconer: gVisor re-executes itself from
// inside an empty root, which a test binary built for the race detector can't.
var program string

// programEnv names a program that is built already.
const programEnv = "FALCONER_TEST_PROGRAM"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if program = os.Getenv(programEnv); program != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "falconer-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "falconer")
	build := exec.Command("go", "build", "-o", program, "github.com/falconer-sec/falconer/cmd/falconer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building falconer: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// shell is a package manager that runs one shell script.
type shell struct{ script string }

func (shell) Name() string                   { return "shell" }
func (shell) Detect(fs.FS) ([]string, error) { return []string{"."}, nil }
func (shell) Load(fs.FS, string) (ecosystem.Project, error) {
	return ecosystem.Project{Manager: "shell", Root: "."}, nil
}
func (s shell) Recipe(ecosystem.Project, ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Version: "1", Argv: []string{"/bin/sh", "-c", s.script}}
}

// Place takes every program called "hook" as a lifecycle script.
func (shell) Place(_ ecosystem.Project, _ ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	if len(e.Argv) < 3 || !strings.HasPrefix(e.Argv[2], ": hook") {
		return ecosystem.Place{}, false
	}
	return ecosystem.Place{Package: finding.Package{PURL: "pkg:npm/evil@1.0.0"}, Script: "postinstall", Phase: "install"}, true
}

type alertLog struct {
	mu     sync.Mutex
	alerts []falco.Alert
}

func (l *alertLog) Put(_ context.Context, _ scan.ID, a []falco.Alert) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alerts = append(l.alerts, a...)
	return nil
}

const testRules = `
- rule: open
  desc: d
  condition: evt.type in (open, openat, openat2, creat) and (fd.name startswith /root or fd.name startswith /etc/shadow or fd.name startswith /host)
  output: opened %fd.name (res=%evt.res type=%evt.type)
  priority: WARNING
- rule: exec
  desc: d
  condition: evt.type = execve
  output: ran %proc.exepath (upper=%proc.is_exe_upper_layer memfd=%proc.is_exe_from_memfd name=%proc.name)
  priority: NOTICE
- rule: fs
  desc: d
  condition: evt.type in (unlink, unlinkat, rename, renameat, renameat2, symlink, symlinkat, link, linkat, chmod, fchmod, fchmodat, memfd_create)
  output: "%evt.type %fs.path.name (%fs.path.source -> %fs.path.target) res=%evt.res mode=%evt.arg.mode"
  priority: NOTICE
- rule: net
  desc: d
  condition: evt.type in (connect, bind, listen, accept, accept4, sendto, sendmsg, sendmmsg, dup2, dup3)
  output: "%evt.type %fd.name sip=%fd.sip sport=%fd.sport"
  priority: NOTICE
`

func load(t testing.TB, text string) *rules.Set {
	t.Helper()
	set, err := rules.Load(rules.SensorFields(), rules.File{Name: "test.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// install runs a script in the sandbox.
func install(t testing.TB, script string, change func(*sandbox.Spec)) (sandbox.Report, []falco.Alert) {
	t.Helper()
	return installWith(t, testRules, script, change)
}

// installWith is install with rules of its own.
func installWith(t testing.TB, text, script string, change func(*sandbox.Spec)) (sandbox.Report, []falco.Alert) {
	t.Helper()
	d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(t, text), TempDir: t.TempDir(), DebugDir: os.Getenv("FALCONER_TEST_GVISOR_LOGS")})
	if err != nil {
		t.Fatal(err)
	}
	m := shell{script}
	p, _ := m.Load(nil, ".")
	s := sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m,
		Limits: sandbox.Limits{Wall: time.Minute}}
	if change != nil {
		change(&s)
	}
	var log alertLog
	r, err := d.Run(t.Context(), s, &log)
	if err != nil {
		t.Fatal(err)
	}
	return r, log.alerts
}

// outputs joins the alerts' outputs, without their time.
func outputs(alerts []falco.Alert) string {
	var b strings.Builder
	for _, a := range alerts {
		_, text, _ := strings.Cut(a.Output, ": ")
		b.WriteString(text + "\n")
	}
	return b.String()
}

// expect reports which of the wanted strings are missing.
func expect(t *testing.T, what, have string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(have, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, have)
		}
	}
}

func TestRegistryIsTheOnlyWayOut(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "pong %s %s", r.Host, r.URL.Path) })
	r, _ := install(t, `node -e '
const http = require("http");
const get = (u) => new Promise(r => http.get(u, {timeout: 2000}, m => { let b = ""; m.on("data", d => b += d); m.on("end", () => r(b)); }).on("error", e => r(e.code)));
(async () => {
  console.log("registry:", await get("http://127.0.0.1:4873/left-pad"));
  console.log("many:", (await Promise.all(Array.from({length: 200}, (_, i) => get("http://127.0.0.1:4873/" + i)))).filter(b => b.startsWith("pong")).length);
  console.log("host loopback:", await get("http://127.0.0.1:22/"));
  console.log("metadata:", await get("http://169.254.169.254/"));
})();'`, func(s *sandbox.Spec) { s.Registry = handler })
	expect(t, "output", r.Log, "registry: pong 127.0.0.1:4873 /left-pad", "many: 200", "host loopback: ECONNREFUSED", "metadata: ENETUNREACH")
}

package seccomp_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func TestMain(m *testing.M) {
	seccomp.Dispatch()
	hobbled()
	os.Exit(m.Run())
}

// shell is a package manager that runs one shell script.
type shell struct{ script string }

func (shell) Name() string                   { return "shell" }
func (shell) Detect(fs.FS) ([]string, error) { return []string{"."}, nil }
func (shell) Load(fs.FS, string) (ecosystem.Project, error) {
	return ecosystem.Project{Manager: "shell", Root: "."}, nil
}
func (s shell) Recipe(_ ecosystem.Project, set ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Version: "1", Argv: []string{"/bin/sh", "-c", s.script}, Env: []string{"REGISTRY=" + set.Registry}, Cache: ".npm"}
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
  condition: evt.type in (open, openat, openat2, creat) and (fd.name startswith /home/build or fd.name startswith /etc/shadow or fd.name startswith /proc)
  output: opened %fd.name (res=%evt.res type=%evt.type raw=%evt.arg.name)
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
  condition: evt.type in (connect, bind, listen, accept, accept4, sendto, sendmsg, sendmmsg, dup, dup2, dup3)
  output: "%evt.type %fd.name sip=%fd.sip sport=%fd.sport proto=%fd.l4proto res=%evt.res"
  priority: NOTICE
- rule: other
  desc: d
  condition: evt.type in (ptrace, mount, bpf, init_module, process_vm_readv)
  output: "%evt.type res=%evt.res"
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

func driver(t testing.TB, tmp string) *seccomp.Driver {
	t.Helper()
	d, err := seccomp.New(seccomp.Config{Rules: load(t, testRules), TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func spec(t testing.TB, script string) sandbox.Spec {
	t.Helper()
	m := shell{script}
	p, _ := m.Load(nil, ".") // never fails
	return sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m, Limits: sandbox.Limits{Wall: time.Minute}}
}

// install runs a script.
func install(t testing.TB, script string, change func(*sandbox.Spec)) (sandbox.Report, []falco.Alert) {
	t.Helper()
	tmp := t.TempDir()
	s := spec(t, script)
	if change != nil {
		change(&s)
	}
	var log alertLog
	r, err := driver(t, tmp).Run(t.Context(), s, &log)
	if err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, tmp)
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

// The report says what this driver is.
func TestIsolationInWords(t *testing.T) {
	r, _ := install(t, `echo hello`, nil)
	if r.Sandbox.Kind != seccomp.Kind || r.Sandbox.Reason != "completed" || len(r.Incomplete) > 0 || r.Log != "hello\n" {
		t.Errorf("report %+v", r)
	}
	expect(t, "isolation", r.Sandbox.Isolation, "none: ", "on this machine as user ", "race")
}

// Nothing but the registry, and what the install itself listens on, can be
// reached by programs that play by the rules.
func TestRegistryIsTheOnlyWayOut(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "pong %s", r.URL.Path) })
	r, alerts := install(t, `node -e '
const http = require("http"), net = require("net");
const get = (u) => new Promise(r => http.get(u, m => { let b = ""; m.on("data", d => b += d); m.on("end", () => r(b)); }).on("error", e => r(e.code)));
(async () => {
  console.log("registry:", await get(process.env.REGISTRY + "left-pad"));
  console.log("many:", (await Promise.all(Array.from({length: 100}, (_, i) => get(process.env.REGISTRY + i)))).filter(b => b.startsWith("pong")).length);
  console.log("host loopback:", await get("http://127.0.0.1:22/"));
  console.log("metadata:", await get("http://169.254.169.254/"));
  console.log("docker:", await get({socketPath: "/var/run/docker.sock", path: "/"}));
  const own = http.createServer((q, a) => a.end("own")).listen(0, "127.0.0.1", async () => {
    console.log("own:", await get("http://127.0.0.1:" + own.address().port + "/"));
    own.close();
  });
})();'`, func(s *sandbox.Spec) { s.Registry = handler })
	expect(t, "output", r.Log, "registry: pong /left-pad", "many: 100", "host loopback: ECONNREFUSED", "metadata: ENETUNREACH", "own: own")
	if strings.Contains(r.Log, "docker: <") || strings.Contains(r.Log, "docker: {") {
		t.Errorf("a socket of the host answers:\n%s", r.Log)
	}
	expect(t, "alerts", outputs(alerts), "connect ->127.0.0.1:4873 ", "connect ->169.254.169.254:80 sip=169.254.169.254 sport=80 proto=tcp res=ENETUNREACH", "listen 127.0.0.1:")
}

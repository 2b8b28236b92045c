package gvisor_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const canaryRules = `
- rule: leak
  desc: d
  condition: falconer.canary exists and evt.type != clone
  output: "%evt.type %falconer.canary, %falconer.canary.where, %falconer.canary.form to %fd.name by %proc.cmdline"
  priority: CRITICAL
`

// TestCanaries takes credentials out of processes in the ways there are, and
// expects the name of each, and its value nowhere.
func TestCanaries(t *testing.T) {
	const listen = `perl -MSocket -e 'socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(7777, INADDR_LOOPBACK)); listen(L, 9);
		socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in(7777, INADDR_LOOPBACK)); accept(C, L); $n = $ENV{NPM_TOKEN}; `
	for _, tt := range []struct {
		name, script string
		want         []string // nothing for what is no leak
	}{
		{"read where no rule looks", `cat /root/.azure/service_principal_entries.json >/dev/null`, []string{"openat Azure client secret, read,"}},
		{"through a link", `ln -s /root/.pgpass /tmp/l; cat /tmp/l >/dev/null`, []string{"openat database password, read,"}},
		{"written", listen + `syswrite S, $n'`, []string{"write variable NPM_TOKEN, connection, plain to ->127.0.0.1:7777"}},
		{"written in pieces", listen + `syswrite S, $_ for unpack "(a3)*", reverse $n'`, []string{"write variable NPM_TOKEN, connection, reversed to"}},
		{"sent", listen + `send S, unpack("H*", $n), 0'`, []string{"sendto variable NPM_TOKEN, connection, hex to"}},
		{"far into a write", listen + `$big = "x" x 300000; syswrite S, $big . $n'`, []string{"write variable NPM_TOKEN, connection, plain to"}},
		{"written by a vector", `node -e 'const s = require("net").createServer(c => c.resume()).listen(7778, "127.0.0.1", () => { const c = require("net").connect(7778, "127.0.0.1");
			c.cork(); c.write("a="); c.write(process.env.NPM_TOKEN.slice(0, 18)); c.write(process.env.NPM_TOKEN.slice(18)); c.uncork(); c.end(() => s.close()) })'`,
			[]string{"writev variable NPM_TOKEN, connection, plain to"}},
		{"a name", `perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); $h = unpack "H*", $ENV{NPM_TOKEN};
			send S, pack("n6 C/a C/a C/a x n2", 1, 256, 1, 0, 0, 0, substr($h, 0, 50), substr($h, 50), "test", 1, 1), 0, sockaddr_in(53, inet_aton("127.0.0.53"))'`,
			[]string{"sendto variable NPM_TOKEN, name, hex to ->127.0.0.53:53"}},
		{"a file", `cd /tmp; base64 /root/.ssh/id_ed25519 > x`, []string{"write SSH key id_ed25519, file, base64 to /tmp/x"}},
		{"a file at a place", `perl -e 'open F, ">", "/tmp/y"; syscall(18, fileno F, $ENV{NPM_TOKEN}, 40, 4)'`, []string{"pwrite64 variable NPM_TOKEN, file, plain to /tmp/y"}},
		{"a copy by the kernel", `node -e 'require("fs").copyFileSync("/root/.vault-token", "/tmp/z")'`, []string{"Vault token, file, plain to /tmp/z"}},
		{"a file's name", `echo > /tmp/$NPM_TOKEN`, []string{"openat variable NPM_TOKEN, path, plain to [variable NPM_TOKEN, plain] by"}},
		{"an argument", `/bin/true -d $NPM_TOKEN`, []string{"execve variable NPM_TOKEN, argument, plain to", "by true -d [variable NPM_TOKEN, plain]"}},
		{"another variable", `X=$(echo $NPM_TOKEN | rev) /bin/true`, []string{"execve variable NPM_TOKEN, environment, reversed to"}},
		{"its own place", `t=$(cat /root/.vault-token); printf %s "$t" > /root/.vault-token`, []string{"Vault token, read,"}},
		{"nothing", `/bin/true; cat /root/.bashrc > /tmp/x; echo $NPM_TOKEN | cat >/dev/null; env | sort | tail -1`, nil},
		{"output", `echo $NPM_TOKEN`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(t, canaryRules), TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			m := shell{tt.script + "; true"}
			p, _ := m.Load(nil, ".")
			s := sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m,
				Limits: sandbox.Limits{Wall: time.Minute}, Canaries: canary.New(canary.NewSeed())}
			var log alertLog
			r, err := d.Run(t.Context(), s, &log)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "alerts", outputs(log.alerts), tt.want...)
			if len(tt.want) == 0 && len(log.alerts) > 0 || tt.name == "its own place" && len(log.alerts) != 1 {
				t.Errorf("unexpected:\n%s", outputs(log.alerts))
			}
			all, err := json.Marshal([]any{r, log.alerts})
			if err != nil {
				t.Fatal(err)
			}
			if hits := s.Canaries.Find(all); len(hits) > 0 {
				t.Errorf("%v stand in the report:\n%s", hits, all)
			}
			if len(r.Incomplete) > 0 || r.SensorDropped != 0 || r.SensorEvents == 0 {
				t.Errorf("incomplete: %q, dropped %d of %d", r.Incomplete, r.SensorDropped, r.SensorEvents)
			}
		})
	}
}

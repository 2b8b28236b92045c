package gvisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/sandbox"
)

// TestSees runs what an install script could do and expects the sensor's word
// for it, the points that stock gVisor lacks included.
func TestSees(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []string
	}{
		{"reading a key", `cat /root/.ssh/id_rsa`, []string{"opened /root/.ssh/id_rsa (res=SUCCESS type=openat)"}},
		{"through a link", `ln -s /root/.ssh /tmp/l; cat /tmp/l/id_rsa`, []string{"opened /root/.ssh/id_rsa (res=SUCCESS"}},
		{"from a relative path", `cd /root/.ssh/../.ssh; cat ./id_rsa`, []string{"opened /root/.ssh/id_rsa"}},
		{"a file that is not there", `cat /root/.config/none`, []string{"opened /root/.config/none (res=ENOENT"}},
		{"openat2", `perl -e '$p = "/root/.netrc"; $how = pack("Q3", 0, 0, 0); syscall(437, -100, $p, $how, 24)'`, []string{"opened /root/.netrc (res=SUCCESS type=openat2)"}},
		{"a name that is not UTF-8", `printf x > "$(printf '/root/\377')"; perl -e 'exec "/bin/true", "\xff\xfe"'`,
			[]string{"opened /root/\xff", "ran /usr/bin/true"}},
		{"a dropped program", `cp /bin/echo /tmp/x; /tmp/x; cp /bin/echo /dev/shm/y; /dev/shm/y`,
			[]string{"ran /tmp/x (upper=true", "ran /dev/shm/y (upper=true", "ran /usr/bin/cp (upper=false"}},
		{"a program in memory", `perl -e '$n = "x"; $f = syscall(319, $n, 0); open(my $i, "<", "/bin/echo"); open(my $o, ">&=", $f); $| = 1; select($o); $| = 1; local $/; print <$i>; exec "/proc/self/fd/$f", "hi"'`,
			[]string{"memfd_create memfd:x", "memfd=true"}},
		{"files moved about", `echo > /tmp/a; mv /tmp/a /tmp/b; chmod 4755 /tmp/b; ln /tmp/b /tmp/c; ln -s /root/.ssh/id_rsa /tmp/d; rm /tmp/b`,
			[]string{"rename", "/tmp/a -> /tmp/b", "mode=04755(S_ISUID", "/tmp/c -> /tmp/b", "/tmp/d -> /root/.ssh/id_rsa", "unlinkat /tmp/b"}},
		{"a connection", `node -e 'require("net").connect(4444, "10.9.8.7").on("error", () => {})'`, []string{"connect ->10.9.8.7:4444 sip=10.9.8.7 sport=4444"}},
		{"a datagram", `perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "x", 0, sockaddr_in(53, inet_aton("127.0.0.53")))'`, []string{"sendto ->127.0.0.53:53"}},
		{"a listener", `perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(8080, INADDR_ANY)); listen(S, 1)'`, []string{"bind 0.0.0.0:8080", "listen 0.0.0.0:8080"}},
		{"a shell on a socket", `perl -MSocket -e 'socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(7777, INADDR_ANY)); listen(L, 1);
			socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in(7777, INADDR_LOOPBACK)); open(STDIN, "<&S"); exec "/bin/sh", "-c", "true"'`,
			[]string{"dup2 ->127.0.0.1:7777", "ran /usr/bin/dash"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, alerts := install(t, tt.script+"; true", nil)
			expect(t, "alerts", outputs(alerts), tt.want...)
			if len(r.Incomplete) > 0 || r.SensorDropped != 0 {
				t.Errorf("incomplete: %q, dropped %d", r.Incomplete, r.SensorDropped)
			}
		})
	}
}

// TestPrepared runs a program of a package that lay unpacked before the sandbox
// began: to the rules it is one that the install wrote.
func TestPrepared(t *testing.T) {
	t.Parallel()
	r, alerts := install(t, `./node_modules/a/x; ./other/x`, func(s *sandbox.Spec) {
		program, err := os.ReadFile("/bin/echo")
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{"node_modules/a", "other"} {
			at := filepath.Join(s.Dir, folder)
			if err := errors.Join(os.MkdirAll(at, 0o755), os.WriteFile(filepath.Join(at, "x"), program, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		s.Prepared = []ecosystem.Prepared{{Path: "node_modules/a"}}
	})
	expect(t, "alerts", outputs(alerts), "ran /builds/project/node_modules/a/x (upper=true", "ran /builds/project/other/x (upper=false")
	if r.Sandbox.Unpacked != 1 {
		t.Errorf("%d packages reported, want 1", r.Sandbox.Unpacked)
	}
}

// TestAttribution follows a script's processes to its package, also when they
// detach and rename themselves, and leaves the package manager's own alone.
func TestAttribution(t *testing.T) {
	_, alerts := install(t, `true; cat /etc/shadow >/dev/null
		sh -c ': hook; (setsid perl -e "sleep 0.2; \$0 = q(npm ci); exec q(cat), q(/root/.netrc)" >/dev/null &) ; env -i cat /root/.gitconfig' >/dev/null; sleep 1`, nil)
	for file, want := range map[string]string{"/etc/shadow": "", "/root/.netrc": "pkg:npm/evil@1.0.0", "/root/.gitconfig": "pkg:npm/evil@1.0.0"} {
		found := false
		for _, a := range alerts {
			if a.Rule != "open" || a.Field("fd.name") != file {
				continue
			}
			found = true
			if got := a.Field(falco.FieldPackage); got != want {
				t.Errorf("%s is attributed to %q, want %q", file, got, want)
			}
			if want != "" && (a.Field(falco.FieldScript) != "postinstall" || len(a.List(falco.FieldChain)) < 3) {
				t.Errorf("%s: script %q, chain %q", file, a.Field(falco.FieldScript), a.List(falco.FieldChain))
			}
		}
		if !found {
			t.Errorf("no alert for %s in:\n%s", file, outputs(alerts))
		}
	}
}

// TestOutlived lets a detached process act after the install has ended, and
// stops one that does not end at all.
func TestOutlived(t *testing.T) {
	r, alerts := install(t, `(setsid sh -c "sleep 1; cat /root/.netrc" >/dev/null 2>&1 &)`, nil)
	expect(t, "alerts", outputs(alerts), "opened /root/.netrc (res=SUCCESS")
	if len(r.Incomplete) > 0 {
		t.Errorf("incomplete: %q", r.Incomplete)
	}
	r, _ = install(t, `(setsid sh -c ": busy; while :; do :; done" >/dev/null 2>&1 &)`, nil)
	if r.Sandbox.Reason != "completed" || len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "still running 10s after the install, and stopped then: sh -c : busy;") {
		t.Errorf("ended with %+v, incomplete %q", r.Sandbox, r.Incomplete)
	}
}

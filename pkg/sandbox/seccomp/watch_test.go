package seccomp_test

import (
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
)

// TestSees runs what an install script could do and expects the sensor's word
// for it, in the words that the gVisor driver has for it.
func TestSees(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []string
	}{
		{"reading a key", `cat ~/.ssh/id_rsa`, []string{"opened /home/build/.ssh/id_rsa (res=SUCCESS type=openat"}},
		{"through a link", `ln -s ~/.ssh $TMPDIR/l; cat $TMPDIR/l/id_rsa`, []string{"opened /home/build/.ssh/id_rsa (res=SUCCESS type=openat raw=/tmp/l/id_rsa"}},
		{"through a descriptor's link", `cd ~/.ssh; exec 5<.; ln -s /proc/self/fd/5 $TMPDIR/l; cat $TMPDIR/l/id_rsa`, []string{"opened /home/build/.ssh/id_rsa (res=SUCCESS"}},
		{"through the working directory's link", `cd ~/.ssh; ln -s /proc/self/cwd $TMPDIR/l; cat $TMPDIR/l/id_rsa`, []string{"opened /home/build/.ssh/id_rsa (res=SUCCESS"}},
		{"from a relative path", `cd ~/.ssh/../.ssh; cat ./id_rsa`, []string{"opened /home/build/.ssh/id_rsa"}},
		{"a file that is not there", `cat ~/.config/none`, []string{"opened /home/build/.config/none (res=ENOENT"}},
		{"a new file", `echo x > ~/.config/new; cat ~/.config/new/x; set -C; echo x > ~/.config/none/x`, []string{"opened /home/build/.config/new (res=SUCCESS", "opened /home/build/.config/new/x (res=ENOTDIR", "opened /home/build/.config/none/x (res=ENOENT"}},
		{"openat2", `perl -e '$p = "$ENV{HOME}/.netrc"; $how = pack("Q3", 0, 0, 0); syscall(437, -100, $p, $how, 24)'`, []string{"opened /home/build/.netrc (res=SUCCESS type=openat2"}},
		{"a name that is not UTF-8", `printf x > "$(printf "$HOME/\377")"; perl -e 'exec "/bin/true", "\xff\xfe"'`,
			[]string{"opened /home/build/\xff", "ran /usr/bin/true"}},
		{"its own environment", `cat /proc/self/environ >/dev/null`, []string{"opened /proc/", "/environ (res=SUCCESS type=openat raw=/proc/self/environ"}},
		{"its parent's environment", `sh -c 'cat /proc/$PPID/environ' >/dev/null`, []string{"/environ (res=SUCCESS"}},
		{"a dropped program", `cp /bin/echo $TMPDIR/x; $TMPDIR/x; cp /bin/echo ~/y; ~/y`,
			[]string{"ran /tmp/x (upper=true", "ran /home/build/y (upper=true", "ran /usr/bin/cp (upper=false"}},
		{"a program in memory", `perl -e '$n = "x"; $f = syscall(319, $n, 0); open(my $i, "<", "/bin/echo"); open(my $o, ">&=", $f); $| = 1; select($o); $| = 1; local $/; print <$i>; exec "/proc/self/fd/$f", "hi"'`,
			[]string{"memfd_create memfd:x", "memfd=true"}},
		{"files moved about", `cd $TMPDIR; echo > a; mv a b; chmod 4755 b; ln b c; ln -s ~/.ssh/id_rsa d; rm b`,
			[]string{"rename", "/tmp/a -> /tmp/b", "mode=04755(S_ISUID", "/tmp/c -> /tmp/b", "/tmp/d -> /home/build/.ssh/id_rsa", "unlinkat /tmp/b"}},
		{"what fails", `rm -f ~/none; mv ~/none ~/x; ln ~/.netrc ~/.profile`, []string{"res=ENOENT", "res=EEXIST"}},
		{"a connection", `node -e 'require("net").connect(4444, "10.9.8.7").on("error", () => {})'`, []string{"connect ->10.9.8.7:4444 sip=10.9.8.7 sport=4444 proto=tcp res=ENETUNREACH"}},
		{"a datagram", `perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "x", 0, sockaddr_in(53, inet_aton("127.0.0.53")))'`, []string{"sendto ->127.0.0.53:53 sip=127.0.0.53 sport=53 proto=udp res=ECONNREFUSED"}},
		{"a listener", `perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(0, INADDR_LOOPBACK)); listen(S, 1)'`, []string{"bind 127.0.0.1:0", "listen 127.0.0.1:"}},
		{"a shell on a socket", `perl -MSocket -e 'socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(0, INADDR_LOOPBACK)); listen(L, 1);
			socket(S, PF_INET, SOCK_STREAM, 0); connect(S, getsockname(L)); open(STDIN, "<&S"); exec "/bin/sh", "-c", "true"'`,
			[]string{"dup2 ->127.0.0.1:", "ran /usr/bin/dash"}},
		{"a socket that becomes standard input by dup", `perl -MSocket -e 'socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(0, INADDR_LOOPBACK)); listen(L, 1);
			socket(S, PF_INET, SOCK_STREAM, 0); connect(S, getsockname(L)); close(STDIN); syscall(32, fileno(S)); '`,
			[]string{"dup ->127.0.0.1:"}},
		{"what is refused", `perl -e '$p = "/mnt"; syscall(165, $p, $p, $p, 0, 0); $a = "x" x 128; syscall(321, 0, $a, 128)'; unshare -r true; kill -9 -1; true`, []string{"mount res=EPERM", "bpf res=EPERM"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, alerts := install(t, tt.script+"; true", nil)
			expect(t, "alerts", outputs(alerts), tt.want...)
			if len(r.Incomplete) > 0 || r.SensorDropped != 0 {
				t.Errorf("incomplete: %q, dropped %d, log %s", r.Incomplete, r.SensorDropped, r.Log)
			}
		})
	}
}

// TestAttribution follows a script's processes to its package, also when they
// detach, lose their parents in every way and rename themselves, and leaves
// the package manager's own alone.
func TestAttribution(t *testing.T) {
	script := `cat /etc/shadow >/dev/null
		sh -c ': hook; (setsid perl -e "sleep 0.2; \$0 = q(npm ci); exec q(cat), q(HOME/.netrc)" >/dev/null &) ; env -i cat HOME/.gitconfig
			perl -e "if (!fork) { if (!fork) { select(undef, undef, undef, 0.3); exec q(cat), q(HOME/.ssh/id_rsa) } kill 9, \$\$ } wait"
			perl -e "if (!fork) { if (!fork) { select(undef, undef, undef, 0.3); exec q(cat), q(HOME/.aws/config) } exit } wait"
			for i in 1 2 3 4 5 6 7 8; do perl -e "fork; fork; exec q(cat), q(HOME/.profile)" & done; wait' >/dev/null; sleep 1`
	_, alerts := install(t, strings.ReplaceAll(script, "HOME", "$HOME"), nil)
	for file, want := range map[string]string{"/etc/shadow": "", "/home/build/.netrc": "pkg:npm/evil@1.0.0", "/home/build/.gitconfig": "pkg:npm/evil@1.0.0",
		"/home/build/.ssh/id_rsa": "pkg:npm/evil@1.0.0", "/home/build/.aws/config": "pkg:npm/evil@1.0.0", "/home/build/.profile": "pkg:npm/evil@1.0.0"} {
		found := 0
		for _, a := range alerts {
			if a.Rule != "open" || a.Field("fd.name") != file {
				continue
			}
			found++
			if got := a.Field(falco.FieldPackage); got != want {
				t.Errorf("%s is attributed to %q, want %q", file, got, want)
			}
			if want != "" && (a.Field(falco.FieldScript) != "postinstall" || len(a.List(falco.FieldChain)) < 3) {
				t.Errorf("%s: script %q, chain %q", file, a.Field(falco.FieldScript), a.List(falco.FieldChain))
			}
		}
		if found == 0 || file == "/home/build/.profile" && found != 32 {
			t.Errorf("%d alerts for %s in:\n%s", found, file, outputs(alerts))
		}
	}
}

package gvisor_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// probes are what code looks at that wants to know where it runs. Each prints
// what matches its pattern.
var probes = map[string]struct{ command, want string }{
	"uname":                {`uname -a`, `^Linux runner-[a-z0-9]{8}-project-\d+-concurrent-0 6\.1\.0-28-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6\.1\.119-1 \(2024-11-22\) x86_64 GNU/Linux$`},
	"version":              {`cat /proc/version`, `^` + regexp.QuoteMeta(guest.KernelBanner) + `$`},
	"osrelease":            {`cat /proc/sys/kernel/osrelease`, `^6\.1\.0-28-amd64$`},
	"kernel version":       {`cat /proc/sys/kernel/version`, `^#1 SMP PREEMPT_DYNAMIC Debian`},
	"host name":            {`cat /proc/sys/kernel/hostname /etc/hostname; hostname`, `^(runner-\S+)\n(runner-\S+)\n(runner-\S+)$`},
	"by another path":      {`cat /proc/../proc/1/../sys/kernel/osrelease`, `^6\.1\.0-28-amd64$`},
	"by openat2":           {`perl -e '$p = "/proc/version"; $how = pack("Q3", 0, 0, 0); $f = syscall(437, -100, $p, $how, 24); open(my $i, "<&=", $f); print <$i>'`, `^Linux version 6\.1\.0-28-amd64 `},
	"by open":              {`perl -e '$p = "/proc/version"; $f = syscall(2, $p, 0, 0); open(my $i, "<&=", $f); print <$i>'`, `^Linux version 6\.1\.0-28-amd64 `},
	"boot log":             {`dmesg 2>&1 || true`, `^dmesg: read kernel buffer failed: Operation not permitted$`},
	"boot line":            {`cat /proc/cmdline`, `^BOOT_IMAGE=/boot/vmlinuz-6\.1\.0-28-amd64 root=`},
	"mounts":               {`cat /proc/mounts`, `^overlay / overlay rw,relatime,lowerdir=\S+ 0 0\ntmpfs /dev tmpfs `},
	"mounts of another":    {`cat /proc/1/mounts`, `^overlay / overlay `},
	"mount table":          {`cat /proc/self/mountinfo`, `^\d+ \d+ 0:\d+ / / rw,relatime - overlay overlay rw,lowerdir=`},
	"control group":        {`cat /proc/1/cgroup /proc/self/cgroup`, `^0::/\n0::/$`},
	"control groups":       {`head -2 /proc/cgroups`, `\ncpuset\t0\t`},
	"processor":            {`grep -m2 -E 'model name|stepping' /proc/cpuinfo; grep -c unknown /proc/cpuinfo || true`, `^model name\t: \S.*\nstepping\t: \d+\n0$`},
	"file systems":         {`cat /proc/filesystems`, `ext4\n`},
	"modules":              {`cat /proc/modules`, `\nvirtio_net \d+`},
	"memory":               {`cat /proc/meminfo`, `^MemTotal:\s+\d+ kB\n`},
	"load":                 {`cat /proc/loadavg`, `^[0-9]\.[0-9]{2} \S+ \S+ \d+/\d+ \d+$`},
	"counters":             {`grep -E '^(ctxt|processes) ' /proc/stat`, `^ctxt \d{6,}\nprocesses \d{5,}$`},
	"files of its own":     {`ls /proc | grep -E 'sentry|visor' || echo none; cat /proc/sentry-meminfo 2>&1 || true`, `^none\ncat: /proc/sentry-meminfo: No such file or directory$`},
	"disk":                 {`df -P / | tail -1`, `^overlay +96518208 +4\d{7} +5\d{7} +\d\d% /$`},
	"environment":          {`env | sort`, `\nCI_PIPELINE_ID=\d+\n`},
	"who":                  {`id -un; getent passwd www-data || grep www-data /etc/passwd`, `^root\nwww-data:`},
	"processors in node":   {`node -e 'console.log(os.cpus()[0].model, os.release(), os.version())'`, `^\S.* 6\.1\.0-28-amd64 #1 SMP`},
	"signs of a container": {`ls -d /.dockerenv /run/.containerenv 2>/dev/null || echo none`, `^none$`},
	"devices":              {`cat /proc/devices; find /sys | head -300`, `Block devices:`},
	"sockets":              {`cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/unix; (ss -ltnp || netstat -ltn) 2>/dev/null || true`, `local_address`},
	"times":                {`find /etc /root -maxdepth 1 -newermt "$(date -d '1 day ago' +%F)" | head -3; stat -c %y /etc/passwd /root/.bashrc | cut -c1-19 | sort -u | wc -l`, `^2$`},
	"history":              {`tail -1 /root/.bash_history`, `^exit$`},
	"processes":            {`for f in /proc/[0-9]*; do cat $f/comm $f/status; ls -l $f/exe $f/cwd; done 2>/dev/null`, `Name:\tsh`},
}

// tells are strings that would give the sandbox away.
var tells = regexp.MustCompile(`(?i)gvisor|runsc|falconer|\bsentry|gofer|\b9p\b|\bnone\b /`)

// TestGuise has programs look at everything that tells machines apart.
func TestGuise(t *testing.T) {
	var script strings.Builder
	for name, p := range probes {
		fmt.Fprintf(&script, "echo '=== %s'\n%s\n", name, p.command)
	}
	r, _ := install(t, script.String(), func(s *sandbox.Spec) { s.Registry = http.NotFoundHandler() })
	if r.Sandbox.Reason != "completed" {
		t.Fatalf("ended with %+v:\n%s", r.Sandbox, r.Log)
	}
	seen := map[string]string{}
	for _, part := range strings.Split("\n"+r.Log, "\n=== ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		seen[name] = strings.TrimSuffix(text, "\n")
	}
	for name, p := range probes {
		text, ok := seen[name]
		if !ok || !regexp.MustCompile(p.want).MatchString(text) {
			t.Errorf("%s: want %s, got\n%s", name, p.want, text)
		}
		// The marker is how alerts find their scan: it stays.
		text = strings.ReplaceAll(text, falco.MarkerEnv+"=", "")
		if name == "files of its own" {
			continue
		}
		if at := tells.FindString(text); at != "" {
			t.Errorf("%s tells %q:\n%s", name, at, text)
		}
	}
	names := strings.Fields(seen["host name"])
	if len(names) != 3 || names[0] != names[1] || names[1] != names[2] {
		t.Errorf("the machine has several names: %q", names)
	}
}

// TestUptime expects everything that tells how long the machine runs to agree.
func TestUptime(t *testing.T) {
	r, _ := install(t, `cut -d. -f1 /proc/uptime
		node -e 'console.log(Math.floor(os.uptime())); console.log(Math.floor(Number(process.hrtime.bigint() / 1000000000n)))'
		perl -e 'syscall(99, $b = "\0" x 128); print unpack("q", $b), "\n"'
		grep btime /proc/stat | { read -r _ b; echo $(($(date +%s) - b)); }
		tr -d '()' < /proc/self/stat | { read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ start _; echo $((start / 100)); }`, nil)
	up := numbers(t, r.Log, 6)
	for i, n := range up {
		if n < 3*86400 || n > 41*86400 || n < up[0]-60 || n > up[0]+60 {
			t.Errorf("number %d says %d s, the first %d s", i, n, up[0])
		}
	}
}

func numbers(t *testing.T, text string, want int) []int64 {
	t.Helper()
	var out []int64
	for _, f := range strings.Fields(text) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		out = append(out, n)
	}
	if len(out) != want {
		t.Fatalf("%d numbers, want %d:\n%s", len(out), want, text)
	}
	return out
}

// TestMachines tells two scans' machines apart, and knows one again.
func TestMachines(t *testing.T) {
	a, b := scan.Key{Project: "a"}.ID(), scan.Key{Project: "b"}.ID()
	first, again, other := guest.MachineOf(a), guest.MachineOf(a), guest.MachineOf(b)
	if first.Hostname != again.Hostname || first.Hostname == other.Hostname || first.Uptime == other.Uptime {
		t.Errorf("machines %+v, %+v and %+v", first, again, other)
	}
}

const waitRules = `
- rule: wait
  desc: d
  condition: evt.type = nanosleep and evt.rawarg.interval >= 5000000000
  output: waited %evt.rawarg.interval (%proc.name)
  priority: NOTICE
`

// TestLongWaits waits for an hour in every way there is. The scan goes on at
// once, and says that somebody waited.
func TestLongWaits(t *testing.T) {
	for name, script := range map[string]string{
		"sleep":                 `sleep 3600`,
		"a timer in node":       `node -e 'setTimeout(() => {}, 3600e3)'`,
		"a wait in node":        `node -e 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3600e3)'`,
		"select":                `perl -e 'select(undef, undef, undef, 3600)'`,
		"poll":                  `perl -e 'syscall(7, 0, 0, 3600000)'`,
		"an alarm":              `perl -e '$SIG{ALRM} = sub { exit }; alarm 3600; sleep'`,
		"a timer to read":       `perl -e '$f = syscall(283, 1, 0); $v = pack("q4", 0, 0, 3600, 0); syscall(286, $f, 0, $v, 0); open(my $i, "<&=", $f); sysread($i, $b, 8)'`,
		"a timer to poll":       `perl -e '$f = syscall(283, 0, 0); $v = pack("q4", 0, 0, 3600, 0); syscall(286, $f, 0, $v, 0); vec($r, $f, 1) = 1; select($r, undef, undef, undef)'`,
		"until an hour":         `perl -e 'use Time::HiRes qw(clock_gettime clock_nanosleep); $n = clock_gettime(0); $v = pack("q2", int($n) + 3600, 0); syscall(230, 0, 1, $v, 0)'`,
		"many short ones":       `for i in 1 2 3 4 5 6 7 8 9 10; do sleep 360; done`,
		"a child":               `sh -c 'sleep 3600' & wait`,
		"another one's waiting": `(while :; do :; done) & p=$!; sleep 1; kill $p; sleep 3600`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, alerts := installWith(t, waitRules, `a=$(date +%s); u=$(cut -d. -f1 /proc/uptime); `+script+`
				touch /tmp/f; echo $(($(date +%s) - a)) $(($(cut -d. -f1 /proc/uptime) - u)) $(($(stat -c %Y /tmp/f) - a)); node -p 'Math.floor(Date.now() / 1000) - '$a`, nil)
			for _, n := range numbers(t, r.Log, 4) {
				if n < 3598 || n > 3700 {
					t.Errorf("%d s went by, want an hour: %q", n, r.Log)
				}
			}
			if r.Sandbox.Reason != "completed" || len(r.Incomplete) > 0 {
				t.Errorf("ended with %+v, incomplete %q", r.Sandbox, r.Incomplete)
			}
			if !strings.Contains(outputs(alerts), "waited 3") {
				t.Errorf("nobody said that there was a wait:\n%s", outputs(alerts))
			}
		})
	}
}

// TestLateAct lets a process that outlives the install wait for a day's part
// before it acts. Alerts keep to the real time.
func TestLateAct(t *testing.T) {
	r, alerts := install(t, `(setsid sh -c "sleep 40000; cat /root/.netrc" >/dev/null 2>&1 &)`, nil)
	expect(t, "alerts", outputs(alerts), "opened /root/.netrc (res=SUCCESS")
	if len(r.Incomplete) > 0 {
		t.Errorf("incomplete: %q", r.Incomplete)
	}
	if first, last := alerts[0].Time, alerts[len(alerts)-1].Time; last.Sub(first).Hours() > 10 {
		t.Errorf("alerts from %s to %s: by the sandbox's clock", first, last)
	}
}

// TestBounds stops what waits for longer than a day.
func TestBounds(t *testing.T) {
	r, _ := install(t, `(setsid sleep 100000 >/dev/null 2>&1 &)`, nil)
	if r.Sandbox.Reason != "completed" || len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0], "still running 10s after the install, and stopped then: sleep 100000 (1 in all)") {
		t.Errorf("ended with %+v, incomplete %q", r.Sandbox, r.Incomplete)
	}
}

// TestSlowRegistry keeps a client waiting for the registry: its own, longer
// timeout must not pass meanwhile.
func TestSlowRegistry(t *testing.T) {
	answer := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/go" {
			close(answer)
			return
		}
		<-answer
		fmt.Fprint(w, "late")
	})
	r, _ := install(t, `node -e '
const http = require("http");
const q = http.get("http://127.0.0.1:4873/slow", m => { let b = ""; m.on("data", d => b += d); m.on("end", () => { console.log(b); process.exit(); }); }).on("error", e => console.log(e.code));
setTimeout(() => { console.log("gave up"); process.exit(); }, 300e3);
setTimeout(() => http.get("http://127.0.0.1:4873/go"), 3e3);'`, func(s *sandbox.Spec) { s.Registry = handler })
	if strings.TrimSpace(r.Log) != "late" {
		t.Errorf("output %q", r.Log)
	}
}

package runtime

import (
	"path"
	"strings"

	"gvisor.dev/gvisor/pkg/abi/linux"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Options configures the sink. They travel in the trace session's file.
type Options struct {
	// Endpoint is the sensor's SEQPACKET socket.
	Endpoint string `json:"endpoint"`
	// Env names the environment variables reported at an exec.
	Env []string `json:"env"`
	// QuietReads are path prefixes (with links resolved) under which a
	// successful read-only open is not reported: system libraries, caches.
	QuietReads []string `json:"quiet_reads"`
	// QuietOwn are path prefixes under which the package manager itself goes
	// unreported: it unpacks packages there.
	QuietOwn []string `json:"quiet_own"`
	// System are path prefixes of the read-only mounts: what is executed from
	// elsewhere, and was not in the sandbox from the beginning, was written there.
	System []string `json:"system"`
	// Installed are path prefixes where packages lay before the sandbox began:
	// what is executed from there counts as written in it.
	Installed []string `json:"installed"`
	// MaxTasks bounds the tasks (threads) alive at once; a clone beyond it
	// fails with EAGAIN. 0 means no bound.
	MaxTasks int `json:"max_tasks"`
	// Canary is the seed of the scan's canaries, in hexadecimal digits; "" for
	// none, or for a pod, whose trusted container brings it.
	Canary string `json:"canary,omitempty"`
	// PatienceMS is how long a record waits for a sensor that does not read, in
	// milliseconds, before it is counted as dropped. 0 means for ever.
	PatienceMS int64 `json:"patience_ms"`
	// Guise is what the kernel pretends to be; nil for what it is.
	Guise *GuiseOptions `json:"-"`
}

// options is what the sink was configured with. gVisor's points are plain
// functions without a receiver, so this has to be the package's; it is set
// once, before the first task runs.
var options Options

// managerTGID is the package manager in every sandbox of ours: the first child
// of an init. In a pod it is anything; QuietOwn is empty there.
const managerTGID = 2

// filtered reports whether a record can't interest any rule and stays in the
// kernel. What is dropped here is dropped by place, never by what a process
// says of itself.
func filtered(r *record.Record) bool {
	switch r.Kind {
	case "open", "openat", "openat2", "creat":
		return quietOpen(r)
	case "dup", "dup2", "dup3":
		return r.FD > 2 || r.Result < 0 || !inet(r.Addr)
	case "sendto", "sendmsg", "sendmmsg", "accept", "accept4", "listen", "bind":
		return !inet(r.Addr)
	case "chmod", "fchmod", "fchmodat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat":
		return r.TGID == managerTGID && hasPrefix(r.Path, options.QuietOwn) && (r.Target == "" || !path.IsAbs(r.Target) || hasPrefix(r.Target, options.QuietOwn))
	case "write", "writev":
		return !inet(r.Addr) || r.TGID == managerTGID && options.QuietOwn != nil
	case "access":
		dir := path.Base(path.Dir(r.Path))
		return r.Path == "" || r.TGID == managerTGID || dir != "bin" && dir != "sbin"
	case "execve":
		return r.Result >= 0
	case "chdir", "fchdir":
		return true
	}
	return false
}

func quietOpen(r *record.Record) bool {
	if r.TGID == managerTGID && hasPrefix(r.Path, options.QuietOwn) {
		return true
	}
	const writing = linux.O_WRONLY | linux.O_RDWR | linux.O_CREAT | linux.O_TRUNC
	return r.Flags&writing == 0 && (r.Result >= 0 || -r.Result == 2) && hasPrefix(r.Path, options.QuietReads)
}

func hasPrefix(p string, prefixes []string) bool {
	for _, q := range prefixes {
		if strings.HasPrefix(p, q) {
			return true
		}
	}
	return false
}

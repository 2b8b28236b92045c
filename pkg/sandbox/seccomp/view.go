package seccomp

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// What the run's folders and the registry's port are called in records: the
// same names as in a sandbox with a root of its own, so that the same rules
// hold (a home two levels deep, nothing of the project below /tmp) and no path
// of this machine gets into a report that has no business there. The home has
// a name that is not the real one's.
const (
	seenHome     = "/home/build"
	seenWork     = "/builds/project"
	seenTemp     = "/tmp"
	seenRegistry = 4873
)

// Folders of a run's directory.
const (
	homeFolder = "home"
	workFolder = "project"
	tempFolder = "tmp"
)

// view renames what is in the run's directory.
type view struct {
	replacer *strings.Replacer
	dir      string
	port     uint16
}

// newView takes the run's directory, with links resolved, and the registry's
// port, 0 for none.
func newView(dir string, port uint16) view {
	return view{dir: dir, port: port, replacer: strings.NewReplacer(
		dir+"/"+homeFolder, seenHome, dir+"/"+workFolder, seenWork, dir+"/"+tempFolder, seenTemp)}
}

func (v view) text(s string) string {
	if !strings.Contains(s, v.dir) {
		return s
	}
	return v.replacer.Replace(s)
}

func (v view) list(l []string) []string {
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = v.text(s)
	}
	return out
}

// apply renames everything in a record.
func (v view) apply(r *record.Record) {
	for _, s := range []*string{&r.Cwd, &r.Path, &r.Raw, &r.Target, &r.FDPath, &r.Exe} {
		*s = v.text(*s)
	}
	r.Argv, r.Env, r.Stdio = v.list(r.Argv), v.list(r.Env), v.list(r.Stdio)
	if ap, ok := r.AddrPort(); ok && v.port != 0 && ap == netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), v.port) {
		binary.BigEndian.PutUint16(r.Addr[2:], seenRegistry)
	}
}

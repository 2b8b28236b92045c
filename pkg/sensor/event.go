package sensor

import (
	"net/netip"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// event is a record with its process, as the rules see it.
type event struct {
	r     *record.Record
	p     *Process
	num   int64
	c     *Config
	hosts map[netip.Addr]string // names of addresses
	noted
}

var _ rules.Event = (*event)(nil)

// Type implements rules.Event.
func (e *event) Type() string { return e.r.Kind }

// Field implements rules.Event.
func (e *event) Field(id int, arg string, index int) (rules.Value, bool) {
	if id < 0 || id >= len(getters) || getters[id] == nil {
		return rules.Value{}, false
	}
	return getters[id](e, arg, index)
}

// Ancestors implements rules.Event.
func (e *event) Ancestors() int {
	n := 0
	for p := e.p.Parent; p != nil && n < maxAncestors; p = p.Parent {
		n++
	}
	return n
}

// ancestor returns the n-th ancestor, 0 being the process itself.
func (e *event) ancestor(n int) *Process {
	p := e.p
	for ; n > 0 && p != nil; n-- {
		p = p.Parent
	}
	return p
}

// time is when the event happened by the sandbox's clock.
func (e *event) time() time.Time { return time.Unix(0, e.r.TimeNS).UTC() }

// result is Falco's evt.res: SUCCESS or the name of the error.
func (e *event) result() string {
	switch {
	case !e.r.HasResult:
		return ""
	case e.r.Result >= 0:
		return "SUCCESS"
	}
	if name := unix.ErrnoName(unix.Errno(-e.r.Result)); name != "" {
		return name
	}
	return "UNKNOWN"
}

func (e *event) isOpen() bool {
	switch e.r.Kind {
	case "open", "openat", "openat2", "creat":
		return true
	}
	return false
}

// opened reports whether an open asked for one of the accesses, whether or not
// it succeeded: Falco takes both from the flags.
func (e *event) opened(reading, writing bool) bool {
	if !e.isOpen() {
		return false
	}
	switch e.r.Flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		return reading
	case unix.O_WRONLY:
		return writing
	}
	return true
}

// fdName is Falco's fd.name: a path, or "client->server" for a connection of
// which we know the other side only, so "->server".
func (e *event) fdName() string {
	if e.isOpen() {
		return e.r.Path
	}
	if ap, ok := e.r.AddrPort(); ok {
		if e.local() {
			return ap.String()
		}
		return "->" + ap.String()
	}
	switch e.r.Kind {
	case "connect", "sendto", "sendmsg":
		return unixPath(e.r.Addr)
	case "fchmod", "memfd_create":
		return e.r.Path
	}
	return e.r.FDPath
}

// local reports whether the record's address is this side's.
func (e *event) local() bool {
	switch e.r.Kind {
	case "bind", "listen", "accept", "accept4":
		return true
	}
	return false
}

// unixPath is the path in a struct sockaddr_un; an abstract name starts with @.
func unixPath(addr []byte) string {
	if len(addr) < 3 || addr[0] != unix.AF_UNIX {
		return ""
	}
	p := string(addr[2:])
	if p[0] == 0 {
		p = "@" + p[1:]
	}
	name, _, _ := strings.Cut(p, "\x00")
	return name
}

// remote returns the other side's address, ok only for connections.
func (e *event) remote() (netip.AddrPort, bool) {
	if e.local() {
		return netip.AddrPort{}, false
	}
	return e.r.AddrPort()
}

// server is the side that listens: the other one of a connection, this one of
// a listener.
func (e *event) server() (netip.AddrPort, bool) { return e.r.AddrPort() }

// alert renders a match in Falco's form.
func (e *event) alert(m rules.Match) falco.Alert {
	fields := m.Fields()
	canaryFields(fields, e.r)
	fields["evt.num"] = e.num
	fields["container.id"] = e.c.Container
	fields["evt.type"] = e.r.Kind
	fields["proc.pid"] = int64(e.p.PID)
	fields["proc.cmdline"] = e.p.CommandLine()
	if name := e.target(); name != "" {
		fields["fd.name"] = name
	}
	fields[falco.FieldScanID] = string(e.c.ScanID)
	fields[falco.FieldDesc] = m.Rule.Desc
	fields[falco.FieldChain] = e.p.chain()
	fields[falco.FieldPhase] = e.p.phase()
	if e.p.placed {
		fields[falco.FieldPackage] = e.p.place.Package.PURL
		fields[falco.FieldPath] = e.p.place.Package.Path
		fields[falco.FieldScript] = e.p.place.Script
		if e.p.claimed {
			fields[falco.FieldClaimed] = true
		}
	}
	return falco.Alert{Rule: m.Rule.Name, Priority: m.Rule.Priority, Tags: m.Rule.Tags, Time: e.time(),
		Output: e.time().Format("15:04:05.000000000") + ": " + m.Rule.Priority.String() + " " + m.Output(),
		Source: "syscall", Hostname: "falconer-sandbox", Fields: fields}
}

// target is the file or address that an alert is about.
func (e *event) target() string {
	switch {
	case e.r.Kind == record.KindExec:
		return e.p.Exe
	case e.fdName() != "":
		return strings.TrimPrefix(e.fdName(), "->")
	}
	return e.r.Path
}

func base(p string) string {
	if p == "" {
		return ""
	}
	return path.Base(p)
}

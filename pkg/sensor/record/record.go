// Package record is what travels from the sandbox's kernel to the sensor: one
// system call, or one event in a process's life, with its arguments resolved.
//
// The encoding is protobuf's wire format written by hand: unlike a generated
// message it accepts strings that are not UTF-8, and file names, arguments and
// socket names inside a sandbox are whatever an attacker likes. (A generated
// message with such a string fails to marshal, and the event would be lost.)
// Decode never panics, never allocates more than its input's size warrants and
// ignores fields it doesn't know.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxString bounds each string of a record, in bytes. Longer ones are cut:
// PATH_MAX is 4096, and nothing a rule looks at is longer.
const MaxString = 4096

// MaxList bounds the number of arguments and environment entries.
const MaxList = 256

// MaxListBytes bounds a list's strings together, which bounds a whole record
// to well below MaxFrame.
const MaxListBytes = 48 << 10

// MaxData bounds the payload bytes kept of a send.
const MaxData = 512

// EnvNames are the environment variables that a sandbox reports at an exec: the
// mark of a scan, what a package manager tells its scripts, what changes which
// code a program runs.
var EnvNames = []string{
	"FALCONER_SCAN_ID", "npm_lifecycle_event", "npm_lifecycle_script", "npm_package_name", "npm_package_version",
	"npm_package_json", "npm_command", "INIT_CWD", "NODE_OPTIONS", "LD_PRELOAD",
}

// Event kinds that are not system calls.
const (
	KindStart = "container_start"
	KindClone = "clone"
	KindExec  = "execve"
	KindExit  = "procexit"
	// KindWait stands for every call that waits, poll and its kin included.
	KindWait = "nanosleep"
)

// Record is one observed event. Unset fields are zero.
type Record struct {
	Kind string // system call name, or one of the Kind constants
	// Container is the container's ID, where the sandbox holds several.
	Container string
	TimeNS    int64 // wall clock, nanoseconds since 1970; the sandbox's own may be ahead of it
	TID       int32
	TGID      int32 // process ID
	PTGID     int32 // parent's process ID
	UID       uint32
	GID       uint32
	Cwd       string
	Comm      string

	// HasResult tells that the call returned: Result is its value, or the
	// negative errno.
	HasResult bool
	Result    int64

	// Canary names the fake credential that leaves with this event, CanaryWhere
	// and CanaryForm how (package canary/leak).
	Canary, CanaryWhere, CanaryForm string

	Path   string // absolute where the kernel could tell
	Raw    string // as the process passed it, where that is another
	Target string // second path: rename and link destination, symlink target
	Flags  uint32
	Mode   uint32
	FD     int64
	FDPath string // what FD refers to
	Proto  string // "tcp", "udp", "raw", "icmp" for a socket
	Addr   []byte // struct sockaddr as the process passed it
	Data   []byte // first bytes of a send

	Argv     []string
	Env      []string // selected variables only
	Exe      string
	ExeUpper bool // the binary was written in this sandbox
	ExeMemfd bool
	Stdio    []string // what descriptors 0, 1, 2 refer to at an exec

	IntervalNS int64 // how long a wait is to last, in nanoseconds

	ChildTID  int32
	ChildTGID int32
	Status    int32 // wait status of an exit

	// Conversation is what the sinkhole heard. A record that has one has no lists.
	Conversation *Conversation
}

// AddrPort decodes Addr. ok is false for anything but AF_INET and AF_INET6.
func (r *Record) AddrPort() (ap netip.AddrPort, ok bool) {
	const inet, inet6 = 2, 10
	if len(r.Addr) < 2 {
		return ap, false
	}
	switch family := binary.NativeEndian.Uint16(r.Addr); {
	case family == inet && len(r.Addr) >= 8:
		a, _ := netip.AddrFromSlice(r.Addr[4:8])
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(r.Addr[2:])), true
	case family == inet6 && len(r.Addr) >= 24:
		a, _ := netip.AddrFromSlice(r.Addr[8:24])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(r.Addr[2:])), true
	}
	return ap, false
}

// Field numbers of the wire format. They are never reused.
const (
	fKind protowire.Number = iota + 1
	fTime
	fTID
	fTGID
	fPTGID
	fUID
	fGID
	fCwd
	fComm
	fResult
	fPath
	fTarget
	fFlags
	fMode
	fFD
	fFDPath
	fAddr
	fData
	fArgv
	fEnv
	fExe
	fExeUpper
	fExeMemfd
	fStdio
	fChildTID
	fChildTGID
	fStatus
	fRaw
	fProto
	fContainer
	fConversation
)

// fInterval leaves room for those above.
const fInterval protowire.Number = 64

// Append encodes r after b.
func (r *Record) Append(b []byte) []byte {
	str := func(n protowire.Number, s string) {
		if s != "" {
			b = protowire.AppendTag(b, n, protowire.BytesType)
			b = protowire.AppendString(b, s[:min(len(s), MaxString)])
		}
	}
	num := func(n protowire.Number, v int64) {
		if v != 0 {
			b = protowire.AppendTag(b, n, protowire.VarintType)
			b = protowire.AppendVarint(b, protowire.EncodeZigZag(v))
		}
	}
	list := func(n protowire.Number, l []string) {
		room := MaxListBytes
		for _, s := range l[:min(len(l), MaxList)] {
			s = s[:min(len(s), MaxString, room)]
			b = protowire.AppendTag(b, n, protowire.BytesType)
			b = protowire.AppendString(b, s)
			room -= len(s)
		}
	}
	flag := func(n protowire.Number, v bool) {
		if v {
			num(n, 1)
		}
	}
	str(fKind, r.Kind)
	num(fTime, r.TimeNS)
	num(fTID, int64(r.TID))
	num(fTGID, int64(r.TGID))
	num(fPTGID, int64(r.PTGID))
	num(fUID, int64(r.UID))
	num(fGID, int64(r.GID))
	str(fCanary, r.Canary)
	str(fCanaryWhere, r.CanaryWhere)
	str(fCanaryForm, r.CanaryForm)
	str(fCwd, r.Cwd)
	str(fComm, r.Comm)
	if r.HasResult {
		b = protowire.AppendTag(b, fResult, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(r.Result))
	}
	str(fPath, r.Path)
	str(fTarget, r.Target)
	str(fRaw, r.Raw)
	str(fProto, r.Proto)
	str(fContainer, r.Container)
	num(fFlags, int64(r.Flags))
	num(fMode, int64(r.Mode))
	num(fFD, r.FD)
	str(fFDPath, r.FDPath)
	str(fAddr, string(r.Addr))
	str(fData, string(r.Data[:min(len(r.Data), MaxData)]))
	if r.Conversation == nil {
		list(fArgv, r.Argv)
		list(fEnv, r.Env)
		list(fStdio, r.Stdio)
	} else {
		b = protowire.AppendTag(b, fConversation, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Conversation.append(nil))
	}
	str(fExe, r.Exe)
	flag(fExeUpper, r.ExeUpper)
	flag(fExeMemfd, r.ExeMemfd)
	num(fChildTID, int64(r.ChildTID))
	num(fChildTGID, int64(r.ChildTGID))
	num(fStatus, int64(r.Status))
	num(fInterval, r.IntervalNS)
	return b
}

// ErrMalformed is wrapped by Decode's errors.
var ErrMalformed = errors.New("malformed sensor record")

// Decode reads one encoded record.
func Decode(b []byte) (Record, error) {
	var r Record
	err := eachField(b, r.setNumber, r.setBytes)
	if err != nil {
		return Record{}, err
	}
	if r.Conversation != nil {
		r.Argv, r.Env, r.Stdio = nil, nil, nil
	}
	if r.Kind == "" {
		return Record{}, fmt.Errorf("%w: no kind", ErrMalformed)
	}
	return r, nil
}

// eachField hands every field of an encoded message to the setter of its kind.
func eachField(b []byte, number func(protowire.Number, int64), text func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
			}
			b = b[n:]
			number(num, protowire.DecodeZigZag(v))
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
			}
			b = b[n:]
			if err := text(num, v); err != nil {
				return err
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
			}
			b = b[n:]
		}
	}
	return nil
}

func (r *Record) setNumber(num protowire.Number, v int64) {
	switch num {
	case fTime:
		r.TimeNS = v
	case fTID:
		r.TID = int32(v)
	case fTGID:
		r.TGID = int32(v)
	case fPTGID:
		r.PTGID = int32(v)
	case fUID:
		r.UID = uint32(v)
	case fGID:
		r.GID = uint32(v)
	case fResult:
		r.HasResult, r.Result = true, v
	case fFlags:
		r.Flags = uint32(v)
	case fMode:
		r.Mode = uint32(v)
	case fFD:
		r.FD = v
	case fExeUpper:
		r.ExeUpper = v != 0
	case fExeMemfd:
		r.ExeMemfd = v != 0
	case fChildTID:
		r.ChildTID = int32(v)
	case fChildTGID:
		r.ChildTGID = int32(v)
	case fStatus:
		r.Status = int32(v)
	case fInterval:
		r.IntervalNS = v
	}
}

func (r *Record) setBytes(num protowire.Number, v []byte) (err error) {
	if num == fConversation {
		r.Conversation, err = decodeConversation(v)
		return err
	}
	v = v[:min(len(v), MaxString)]
	add := func(l []string) []string {
		if len(l) < MaxList {
			l = append(l, string(v))
		}
		return l
	}
	switch num {
	case fKind:
		r.Kind = string(v)
	case fCwd:
		r.Cwd = string(v)
	case fComm:
		r.Comm = string(v)
	case fPath:
		r.Path = string(v)
	case fTarget:
		r.Target = string(v)
	case fRaw:
		r.Raw = string(v)
	case fProto:
		r.Proto = string(v)
	case fContainer:
		r.Container = string(v)
	case fFDPath:
		r.FDPath = string(v)
	case fAddr:
		r.Addr = append([]byte(nil), v...)
	case fData:
		r.Data = append([]byte(nil), v[:min(len(v), MaxData)]...)
	case fArgv:
		r.Argv = add(r.Argv)
	case fEnv:
		r.Env = add(r.Env)
	case fExe:
		r.Exe = string(v)
	case fCanary:
		r.Canary = string(v)
	case fCanaryWhere:
		r.CanaryWhere = string(v)
	case fCanaryForm:
		r.CanaryForm = string(v)
	case fStdio:
		r.Stdio = add(r.Stdio)
	}
	return nil
}

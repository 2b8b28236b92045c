package remote

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// headerSize is the least size of gVisor's header: its own size, the message's
// type, and how many events were dropped so far.
const headerSize = 2 + 2 + 4

// ownRecord is the message type of Falconer's own points on gVisor's sink: a
// BytesValue that holds an encoded record.
const ownRecord = 1000

// Decode reads one message of gVisor's remote sink. ok is false for a message
// that carries nothing for a rule. The error wraps record.ErrMalformed.
func Decode(b []byte) (dropped uint32, m Message, ok bool, err error) {
	if len(b) < headerSize {
		return 0, Message{}, false, fmt.Errorf("%w: %d bytes", record.ErrMalformed, len(b))
	}
	size, typ := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
	dropped = binary.LittleEndian.Uint32(b[4:])
	if size < headerSize || size > len(b) {
		return 0, Message{}, false, fmt.Errorf("%w: header of %d in %d bytes", record.ErrMalformed, size, len(b))
	}
	read := decoders[pb.MessageType(typ)]
	if read == nil {
		return dropped, Message{}, false, nil
	}
	if m, ok, err = read(b[size:]); err != nil {
		return 0, Message{}, false, fmt.Errorf("%w: message type %d: %w", record.ErrMalformed, typ, err)
	}
	bound(&m.Record)
	return dropped, m, ok, nil
}

// decoder reads one type of message.
type decoder func(b []byte) (Message, bool, error)

var decoders = map[pb.MessageType]decoder{
	ownRecord: func(b []byte) (Message, bool, error) {
		var v wrapperspb.BytesValue
		if err := proto.Unmarshal(b, &v); err != nil {
			return Message{}, false, err
		}
		r, err := record.Decode(v.Value)
		return Message{Container: r.Container, Record: r}, err == nil, err
	},
	pb.MessageType_MESSAGE_CONTAINER_START:  with(new(pb.Start), start),
	pb.MessageType_MESSAGE_SENTRY_CLONE:     with(new(pb.CloneInfo), clone),
	pb.MessageType_MESSAGE_SENTRY_EXEC:      with(new(pb.ExecveInfo), execve),
	pb.MessageType_MESSAGE_SENTRY_TASK_EXIT: with(new(pb.TaskExit), exit),
	pb.MessageType_MESSAGE_SYSCALL_OPEN:     with(new(pb.Open), open),
	pb.MessageType_MESSAGE_SYSCALL_CONNECT:  with(new(pb.Connect), connect),
	pb.MessageType_MESSAGE_SYSCALL_BIND:     with(new(pb.Bind), bind),
	pb.MessageType_MESSAGE_SYSCALL_ACCEPT:   with(new(pb.Accept), accept),
	pb.MessageType_MESSAGE_SYSCALL_LISTEN:   with(new(pb.Listen), listen),
	pb.MessageType_MESSAGE_SYSCALL_PTRACE:   with(new(pb.Ptrace), ptrace),
}

// message is a generated message that knows the context of its event.
type message interface {
	proto.Message
	GetContextData() *pb.ContextData
}

// with makes a decoder of a function that fills a record from a message of
// prototype's type; fill returns false where there is nothing for a rule.
func with[M message](prototype M, fill func(m M, r *record.Record) bool) decoder {
	return func(b []byte) (Message, bool, error) {
		m := prototype.ProtoReflect().New().Interface().(M)
		if err := proto.Unmarshal(b, m); err != nil {
			return Message{}, false, err
		}
		var out Message
		if c := m.GetContextData(); c != nil {
			out.Container = c.ContainerId
			setContext(&out.Record, c)
		}
		ok := fill(m, &out.Record)
		if s, is := any(m).(*pb.Start); is {
			out.Container = s.Id
		}
		return out, ok, nil
	}
}

func setContext(r *record.Record, c *pb.ContextData) {
	r.TimeNS = c.TimeNs
	r.TID, r.TGID, r.PTGID = c.ThreadId, c.ThreadGroupId, c.ParentThreadGroupId
	r.Cwd, r.Comm = c.Cwd, c.ProcessName
	if u := c.Credentials; u != nil {
		r.UID, r.GID = u.EffectiveUid, u.EffectiveGid
	}
}

func start(m *pb.Start, r *record.Record) bool {
	r.Kind, r.Argv, r.Cwd, r.Env = record.KindStart, m.Args, m.Cwd, m.Env
	return true
}

func clone(m *pb.CloneInfo, r *record.Record) bool {
	r.Kind, r.ChildTID, r.ChildTGID, r.Flags = record.KindClone, m.CreatedThreadId, m.CreatedThreadGroupId, uint32(m.Flags)
	return r.ChildTGID != r.TGID // a thread is nothing a rule looks at
}

func execve(m *pb.ExecveInfo, r *record.Record) bool {
	r.Kind, r.Exe, r.Argv, r.Env = record.KindExec, m.BinaryPath, m.Argv, m.Env
	r.Mode, r.ExeMemfd = m.BinaryMode, m.BinaryInMemfd
	r.ExeUpper = m.BinaryOverlayfsUpper || !m.BinaryOverlayfsLower && !system(m.BinaryPath)
	// The context has the name from before.
	if r.Comm = path.Base(m.BinaryPath); m.Execfn != "" {
		r.Comm = path.Base(m.Execfn)
	}
	r.Stdio = stdio(m.Stdin, m.Stdout, m.Stderr)
	return true
}

// system says that a path is one of an image's, which a volume that is mounted
// in the pod is not.
func system(p string) bool {
	for _, prefix := range [...]string{"/usr/", "/bin/", "/sbin/", "/lib"} {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	return false
}

func exit(m *pb.TaskExit, r *record.Record) bool {
	r.Kind, r.Status = record.KindExit, m.ExitStatus
	return r.TID == r.TGID
}

func open(m *pb.Open, r *record.Record) bool {
	r.Flags, r.Mode = m.Flags, m.Mode
	switch m.Sysno {
	case 2:
		r.Kind = "open"
	case 85:
		r.Kind, r.Flags = "creat", 0o1101 // O_WRONLY|O_CREAT|O_TRUNC
	case 257:
		r.Kind = "openat"
	default:
		return false
	}
	setResult(r, m.Exit)
	if r.FD = m.Fd; r.HasResult && r.Result >= 0 {
		r.FD = r.Result
	}
	if r.Path = absolute(m.Pathname, m.Fd, m.FdPath, r.Cwd); r.Path != m.Pathname {
		r.Raw = m.Pathname
	}
	return true
}

// absolute joins a path with the directory that the call names, by descriptor
// or as its working directory. Links in it stay what they are.
func absolute(p string, dirfd int64, dir, cwd string) string {
	const atFDCWD = -100
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	if int32(dirfd) == atFDCWD {
		dir = cwd
	}
	if !path.IsAbs(dir) { // "[err: ...]", or not asked for
		return p
	}
	return path.Join(dir, p)
}

func connect(m *pb.Connect, r *record.Record) bool {
	r.Kind, r.FD, r.FDPath, r.Addr = "connect", m.Fd, m.FdPath, m.Address
	setResult(r, m.Exit)
	return true
}

func bind(m *pb.Bind, r *record.Record) bool {
	r.Kind, r.FD, r.FDPath, r.Addr = "bind", int64(m.Fd), m.FdPath, m.Address
	setResult(r, m.Exit)
	return true
}

func accept(m *pb.Accept, r *record.Record) bool {
	if r.Kind = "accept"; m.Sysno == 288 {
		r.Kind = "accept4"
	}
	r.FD, r.FDPath, r.Addr = int64(m.Fd), m.FdPath, m.Address
	setResult(r, m.Exit)
	return true
}

func listen(m *pb.Listen, r *record.Record) bool {
	r.Kind, r.FD, r.FDPath = "listen", int64(m.Fd), m.FdPath
	setResult(r, m.Exit)
	return true
}

func ptrace(m *pb.Ptrace, r *record.Record) bool {
	r.Kind, r.Flags, r.ChildTGID = "ptrace", uint32(m.Request), int32(m.Pid)
	setResult(r, m.Exit)
	return true
}

func setResult(r *record.Record, e *pb.Exit) {
	if e == nil {
		return
	}
	if r.HasResult, r.Result = true, e.Result; e.Errorno != 0 {
		r.Result = -e.Errorno
	}
}

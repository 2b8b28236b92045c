package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// SinkName is the sink's name in a trace session.
const SinkName = "falconer"

// handshakeTimeout bounds the wait for the sensor's greeting.
const handshakeTimeout = 10 * time.Second

// sink sends records to the sensor from inside the system call that caused
// them, so that order is kept and a slow sensor slows the sandbox down instead
// of losing anything. It counts what it could not send.
type sink struct {
	seccheck.SinkDefaults
	endpoint *fd.FD
	env      map[string]bool
	maxTasks int64
	tasks    atomic.Int64
	dropped  atomic.Uint32
	stalled  atomic.Bool // the last record had to be dropped: the sensor does not read
	buffers  sync.Pool
}

var _ seccheck.Sink = (*sink)(nil)

func sinkDesc() seccheck.SinkDesc {
	return seccheck.SinkDesc{Name: SinkName, Setup: setup, New: newSink}
}

// parseOptions reads a sink's part of the session file.
func parseOptions[T any](name string, config map[string]any) (T, error) {
	var o T
	raw, err := json.Marshal(config)
	if err != nil {
		return o, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fmt.Errorf("trace session, sink %s: %w", name, err)
	}
	return o, nil
}

// setup connects to the sensor. It runs outside of the sandbox.
func setup(config map[string]any) (*os.File, error) {
	o, err := parseOptions[Options](SinkName, config)
	if err != nil {
		return nil, err
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sensor socket: %w", err)
	}
	f := os.NewFile(uintptr(s), o.Endpoint)
	if err := greet(s, o.Endpoint); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("sensor at %s: %w", o.Endpoint, err)
	}
	tv := unix.NsecToTimeval(o.PatienceMS * int64(time.Millisecond))
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("sensor at %s: %w", o.Endpoint, err)
	}
	return f, nil
}

func greet(s int, endpoint string) error {
	tv := unix.NsecToTimeval(handshakeTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: endpoint}); err != nil {
		return err
	}
	if _, err := unix.Write(s, record.Hello); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := unix.Read(s, answer)
	if err != nil {
		return err
	}
	if !bytes.Equal(answer[:n], record.Hello) {
		return errors.New("speaks another version of the sensor protocol")
	}
	return nil
}

// newSink runs inside the sandbox's kernel process, before its filters are on.
func newSink(config map[string]any, endpoint *fd.FD) (seccheck.Sink, error) {
	o, err := parseOptions[Options](SinkName, config)
	if err != nil {
		return nil, err
	}
	if endpoint == nil {
		return nil, errors.New("sensor sink has no connection")
	}
	if o.Canary != "" {
		seed, err := canary.ParseSeed(o.Canary)
		if err != nil {
			return nil, err
		}
		setBait(seed)
	}
	options = o
	s := &sink{endpoint: endpoint, env: map[string]bool{}, maxTasks: int64(o.MaxTasks)}
	for _, name := range o.Env {
		s.env[name] = true
	}
	s.buffers.New = func() any { b := make([]byte, 0, 4096); return &b }
	s.tasks.Store(1)
	return s, nil
}

// Name implements seccheck.Sink.
func (*sink) Name() string { return SinkName }

// Status implements seccheck.Sink.
func (s *sink) Status() seccheck.SinkStatus {
	return seccheck.SinkStatus{DroppedCount: uint64(s.dropped.Load())}
}

// Stop implements seccheck.Sink.
func (s *sink) Stop() { _ = s.endpoint.Close() }

func (s *sink) send(r *record.Record) {
	buf := s.buffers.Get().(*[]byte)
	*buf = record.AppendFrame((*buf)[:0], s.dropped.Load(), r)
	s.write(*buf, r.Kind == record.KindExit)
	s.buffers.Put(buf)
}

// write blocks until the sensor has room, or for as long as it has patience. A
// task that waits here can't be killed, so once that has run out, records no
// longer wait until the sensor reads again; but the end of a process does, or
// all could end before the sensor hears that it missed something. What is not
// sent is counted: the sensor sees the count on the next frame, or the closed
// connection.
func (s *sink) write(frame []byte, end bool) {
	if s.stalled.Load() && !end && !writable(s.endpoint.FD()) {
		s.dropped.Add(1)
		return
	}
	_, err := retry(func() (int, error) { return unix.Write(s.endpoint.FD(), frame) })
	s.stalled.Store(err == unix.EAGAIN)
	if err != nil {
		s.dropped.Add(1)
	}
}

// writable reports whether a packet could be sent now.
func writable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := retry(func() (int, error) { return unix.Ppoll(p, &unix.Timespec{}, nil) })
	return err == nil && n > 0
}

// Syscall implements seccheck.Sink for our own points. A nil message is one
// that the filter dropped.
func (s *sink) Syscall(_ context.Context, _ seccheck.FieldSet, _ *pb.ContextData, typ pb.MessageType, msg proto.Message) error {
	v, ok := msg.(*wrapperspb.BytesValue)
	if !ok || v == nil || typ != MessageRecord {
		return nil
	}
	s.write(record.AppendRaw(s.dropped.Load(), v.Value), false)
	return nil
}

// Clone implements seccheck.Sink. It refuses a task beyond the limit, which
// makes clone(2) fail inside the sandbox.
func (s *sink) Clone(_ context.Context, _ seccheck.FieldSet, info *pb.CloneInfo) error {
	refused := s.tasks.Add(1) > s.maxTasks && s.maxTasks > 0
	r := record.Record{Kind: record.KindClone, ChildTID: info.CreatedThreadId, ChildTGID: info.CreatedThreadGroupId, Flags: uint32(info.Flags)}
	setContext(&r, info.ContextData)
	if refused { // its task exits all the same, and is counted off there
		r.HasResult, r.Result = true, -int64(unix.EAGAIN)
	} else if r.ChildTGID == r.TGID {
		return nil // a thread: nothing a rule looks at
	}
	s.send(&r)
	if refused {
		return linuxerr.EAGAIN
	}
	return nil
}

// Execve implements seccheck.Sink. It sees only what is really executed: the
// kernel has loaded the image.
func (s *sink) Execve(_ context.Context, _ seccheck.FieldSet, info *pb.ExecveInfo) error {
	r := record.Record{Kind: record.KindExec, Exe: info.BinaryPath, Argv: info.Argv,
		ExeUpper: info.BinaryOverlayfsUpper || !info.BinaryOverlayfsLower && !hasPrefix(info.BinaryPath, options.System) || hasPrefix(info.BinaryPath, options.Installed),
		ExeMemfd: info.BinaryInMemfd, Mode: info.BinaryMode}
	for _, e := range info.Env {
		if name, _, ok := strings.Cut(e, "="); ok && s.env[name] {
			r.Env = append(r.Env, e)
		}
	}
	setContext(&r, info.ContextData)
	if info.Execfn != "" {
		r.Comm = path.Base(info.Execfn)
	}
	if w := baited(); w != nil {
		w.Executed(&r, info.Argv, info.Env)
	}
	r.Stdio = []string{describeFD(info.Stdin), describeFD(info.Stdout), describeFD(info.Stderr)}
	s.send(&r)
	return nil
}

// describeFD says what a standard descriptor refers to: a path, or
// "socket:<address of the other side>".
func describeFD(i *pb.FdInfo) string {
	if i == nil {
		return ""
	}
	if i.Socket == nil {
		return i.Path
	}
	remote := i.Socket.Remote
	if remote == nil {
		return "socket:"
	}
	return "socket:" + net.JoinHostPort(net.IP(remote.Ip).String(), strconv.Itoa(int(remote.Port)))
}

// TaskExit implements seccheck.Sink.
func (s *sink) TaskExit(_ context.Context, _ seccheck.FieldSet, info *pb.TaskExit) error {
	s.tasks.Add(-1)
	r := record.Record{Kind: record.KindExit, Status: info.ExitStatus}
	setContext(&r, info.ContextData)
	if r.TID != r.TGID {
		return nil
	}
	s.send(&r)
	return nil
}

// ContainerStart implements seccheck.Sink.
func (s *sink) ContainerStart(_ context.Context, _ seccheck.FieldSet, info *pb.Start) error {
	r := record.Record{Kind: record.KindStart}
	setContext(&r, info.ContextData)
	baitFrom(info.Env)
	r.Argv, r.Cwd = info.Args, info.Cwd
	if r.Container != "" { // asked for: a pod's container, whose pod's is the first
		r.Container = info.Id
	}
	s.send(&r)
	return nil
}

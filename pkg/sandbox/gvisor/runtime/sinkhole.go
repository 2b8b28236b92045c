package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"

	"github.com/falconer-sec/falconer/pkg/sandbox/sinkhole"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// SinkholeName is the sinkhole's name in a trace session.
const SinkholeName = "falconer-sinkhole"

// Nameserver is the address of the sinkhole's name server: any would do.
const Nameserver = "172.17.0.1"

// SinkholeOptions configures the sinkhole.
type SinkholeOptions struct {
	// Endpoint is the host's stream socket that hands out the authority.
	Endpoint string `json:"endpoint"`
}

// endGrace is how long conversations may go on when the first process ends:
// what was sent before is on its way inside this very process.
const endGrace = 300 * time.Millisecond

// hole is the sinkhole as a sink, in form only, as the relay is. What it hears
// goes to the sensor through the sink of records.
type hole struct {
	seccheck.SinkDefaults
	sinkhole *sinkhole.Sinkhole
	traffic  *traffic
	once     sync.Once
}

var _ seccheck.Sink = (*hole)(nil)

func holeDesc(moved *traffic) seccheck.SinkDesc {
	return seccheck.SinkDesc{Name: SinkholeName, Setup: setupHole, New: func(_ map[string]any, endpoint *fd.FD) (seccheck.Sink, error) {
		return newHole(endpoint, moved)
	}}
}

// setupHole connects to the host's side. It runs outside of the sandbox.
func setupHole(config map[string]any) (*os.File, error) {
	o, err := parseOptions[SinkholeOptions](SinkholeName, config)
	if err != nil {
		return nil, err
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sinkhole's socket: %w", err)
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: o.Endpoint}); err != nil {
		_ = unix.Close(s)
		return nil, fmt.Errorf("sinkhole's authority at %s: %w", o.Endpoint, err)
	}
	return os.NewFile(uintptr(s), o.Endpoint), nil
}

// newHole reads the scan's authority and closes the way it came. It runs inside
// the sandbox's kernel process, before its filters are on.
func newHole(endpoint *fd.FD, moved *traffic) (seccheck.Sink, error) {
	if endpoint == nil {
		return nil, errors.New("sinkhole has no connection")
	}
	defer endpoint.Close()
	text, err := io.ReadAll(io.LimitReader(&blockingFD{endpoint}, sinkhole.MaxAuthority))
	if err != nil {
		return nil, fmt.Errorf("sinkhole's authority: %w", err)
	}
	authority, err := sinkhole.ParseAuthority(text)
	if err != nil {
		return nil, err
	}
	return &hole{traffic: moved, sinkhole: sinkhole.New(sinkhole.Config{Authority: authority, Report: report, Now: time.Now})}, nil
}

// report hands a record to the sensor, as if a system call had made it.
func report(r *record.Record) {
	msg := wrapperspb.Bytes(r.Append(nil))
	_ = seccheck.Global.SentToSinks(func(s seccheck.Sink) error {
		if s.Name() != SinkName {
			return nil
		}
		return s.Syscall(context.Background(), seccheck.FieldSet{}, nil, MessageRecord, msg) // what can't be sent is counted there
	})
}

// Name implements seccheck.Sink.
func (*hole) Name() string { return SinkholeName }

// Stop implements seccheck.Sink.
func (*hole) Stop() {}

// Syscall implements seccheck.Sink: the first one opens the network, before it
// is executed.
func (h *hole) Syscall(ctx context.Context, _ seccheck.FieldSet, _ *pb.ContextData, _ pb.MessageType, _ proto.Message) error {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return nil
	}
	h.once.Do(func() {
		if s, ok := t.NetworkContext().(*netstack.Stack); ok {
			if err := openWorld(s.Stack, h.sinkhole, h.traffic); err != nil {
				report(&record.Record{Kind: record.KindUnheard, TimeNS: time.Now().UnixNano(), Path: err.Error()})
			}
		}
	})
	return nil
}

// TaskExit implements seccheck.Sink. The first process is the last to end: what
// was said until then is reported before it does.
func (h *hole) TaskExit(_ context.Context, _ seccheck.FieldSet, info *pb.TaskExit) error {
	if c := info.ContextData; c != nil && c.ThreadId == 1 {
		h.sinkhole.End(endGrace)
	}
	return nil
}

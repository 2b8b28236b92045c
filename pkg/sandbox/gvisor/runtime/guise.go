package runtime

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
)

// GuiseName is the guise's name in a trace session.
const GuiseName = "falconer-guise"

// GuiseOptions says what the sandbox's kernel pretends to be.
type GuiseOptions struct {
	// UptimeS is for how long the machine claims to have run, in seconds.
	UptimeS int64 `json:"uptime_s"`
	// SkipS bounds by how much the sandbox's clocks may be put forward, in all,
	// while everything in it sleeps; in seconds. 0 means never.
	SkipS int64 `json:"skip_s"`
	// Disk is the UUID of the machine's root file system, and Layers names the
	// layers of the container's.
	Disk   string `json:"disk"`
	Layers string `json:"layers"`
}

// guise makes gVisor's kernel look like the one that it stands for: it words
// what tells them apart (guise_amd64.go, procfs.go), keeps the clocks (clock.go)
// and puts them forward (skip.go).
//
// It is a sink in form only, as the relay is: a sink's first event comes with a
// task, whose kernel it is. Without it in the session nothing is changed.
type guise struct {
	seccheck.SinkDefaults
	options GuiseOptions
	once    sync.Once
	// worn is set once the kernel is dressed.
	worn  atomic.Bool
	clock *clocks
	// traffic tells whether something is on its way from the host.
	traffic   *traffic
	pollsters *pollsters
}

var _ seccheck.Sink = (*guise)(nil)

func newGuise(moved *traffic) *guise { return &guise{traffic: moved, pollsters: newPollsters()} }

func guiseDesc(g *guise) seccheck.SinkDesc {
	return seccheck.SinkDesc{Name: GuiseName, New: func(config map[string]any, _ *fd.FD) (seccheck.Sink, error) {
		var err error
		g.options, err = parseOptions[GuiseOptions](GuiseName, config)
		return g, err
	}}
}

// Name implements seccheck.Sink.
func (*guise) Name() string { return GuiseName }

// Syscall implements seccheck.Sink: the first one dresses the kernel. It is one
// of the first process's dynamic linker, or of its shell.
func (g *guise) Syscall(ctx context.Context, _ seccheck.FieldSet, _ *pb.ContextData, _ pb.MessageType, _ proto.Message) error {
	if !g.worn.Load() {
		g.dress(ctx)
	}
	return nil
}

// Clone implements seccheck.Sink. It comes before the child runs.
func (g *guise) Clone(ctx context.Context, _ seccheck.FieldSet, info *pb.CloneInfo) error {
	if !g.worn.Load() {
		g.dress(ctx)
	}
	if c := info.ContextData; c != nil {
		g.pollsters.forked(c.ThreadGroupId, info.CreatedThreadGroupId)
	}
	return nil
}

// Execve implements seccheck.Sink.
func (g *guise) Execve(_ context.Context, _ seccheck.FieldSet, info *pb.ExecveInfo) error {
	if c := info.ContextData; c != nil {
		g.pollsters.executed(c.ThreadGroupId, info.BinaryPath)
	}
	return nil
}

// TaskExit implements seccheck.Sink.
func (g *guise) TaskExit(_ context.Context, _ seccheck.FieldSet, info *pb.TaskExit) error {
	if c := info.ContextData; c != nil && c.ThreadId == c.ThreadGroupId {
		g.pollsters.ended(c.ThreadGroupId)
	}
	return nil
}

// dress is called by the first tasks; all of them wait for it.
func (g *guise) dress(ctx context.Context) {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return
	}
	g.once.Do(func() {
		k := t.Kernel()
		hideProcFiles(t)
		g.clock = installClocks(k, g.options.UptimeS)
		if g.clock != nil && g.options.SkipS > 0 {
			go newSkipper(k, g).run()
		}
		g.worn.Store(true)
	})
}

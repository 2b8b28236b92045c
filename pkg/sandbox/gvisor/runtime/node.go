package runtime

import (
	"context"
	"os"

	"github.com/google/subcommands"
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/flag"
)

// Node is the main function of a node's OCI runtime: the commands that
// containerd's shim for gVisor calls, on a kernel with our points. It takes
// stock gVisor's configuration, trace session included (see NodeSession), and
// never returns. env names the environment variables reported at an exec.
//
// Checkpoints are left out: what is restored would not be watched.
func Node(env []string) {
	// Sidecars are separate builds of gVisor's kernel that may lie beside this
	// program, where stock gVisor is installed too. They lack our points.
	_ = os.Setenv("GVISOR_SIDECAR_BINARIES_DIR", os.DevNull)
	extend()
	cli.Run(nil, map[util.SubCommand]string{
		&traced{new(cmd.Create), env}: "",
		&traced{new(cmd.Run), env}:    "",
		new(cmd.Start):                "",
		new(cmd.State):                "",
		new(cmd.Kill):                 "",
		new(cmd.Delete):               "",
		new(cmd.Wait):                 "",
		new(cmd.Exec):                 "",
		new(cmd.Events):               "",
		new(cmd.PS):                   "",
		new(cmd.List):                 "",
		new(cmd.Pause):                "",
		new(cmd.Resume):               "",
		new(cmd.Update):               "",
		new(cmd.PortForward):          "",
		new(cmd.Features):             "",
		new(cmd.Debug):                "",
		new(cmd.Gofer):                "",
		new(sentrycmd.Boot):           "",
		new(sentrycmd.Umount):         "",
	}, nil)
}

// traced is a command that starts a sandbox, with the node's trace session made
// ours.
type traced struct {
	util.SubCommand
	env []string
}

// Execute implements subcommands.Command.
func (t *traced) Execute(ctx context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	conf.SidecarUsagePolicy = config.SidecarUsageLegacyEmbedded // none, see Node
	if conf.PodInitConfig != "" {
		path, err := nodeSession(conf.PodInitConfig, t.env)
		if err != nil {
			return util.Errorf("%v", err)
		}
		conf.PodInitConfig = path
	}
	return t.SubCommand.Execute(ctx, f, args...)
}

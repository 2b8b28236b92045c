// Package guest is what the inside of a sandbox looks like, whichever driver
// makes it: a build machine's job. Untrusted code that looks around before it
// acts should find nothing to shy away from, and the same in every sandbox.
package guest

import (
	"path"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Work is the project's directory, and Hostname the machine's name.
const (
	Work     = "/builds/project"
	Hostname = "runner-7x2m4kqd"
)

// User is the name of who installs.
type User string

// Root installs where the sandbox has a kernel of its own under it; Builder
// where the cluster allows no root.
const (
	Root    User = "root"
	Builder User = "build"
)

// Where the two are at home.
const (
	RootHome    = "/root"
	BuilderHome = "/home/build"
)

// BuilderID is the user and the group ID of Builder: the one that images without
// a shell use for "nonroot".
const BuilderID = 65532

// Env is the environment of a build machine's job, without PATH and what a
// recipe adds. The marker variable carries the scan's ID to what is started.
func (u User) Env(id scan.ID) []string {
	home := BuilderHome
	if u == Root {
		home = RootHome
	}
	return []string{
		"HOME=" + home,
		"USER=" + string(u), "LOGNAME=" + string(u), "SHELL=/bin/bash",
		"LANG=C.UTF-8",
		"CI=true", "GITLAB_CI=true", "CI_PROJECT_DIR=" + Work, "CI_RUNNER_ID=1742",
		falco.MarkerEnv + "=" + string(id),
	}
}

// Dir is the directory of a project's root, which is relative to the source.
func Dir(root string) string { return path.Join(Work, root) }

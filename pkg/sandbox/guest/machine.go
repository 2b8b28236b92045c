package guest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// The machine's kernel, as uname(2) and /proc word it: what Debian 12 ships.
const (
	KernelRelease = "6.1.0-28-amd64"
	KernelVersion = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)"
	kernelBuild   = "(debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40)"
)

// KernelBanner is /proc/version.
const KernelBanner = "Linux version " + KernelRelease + " " + kernelBuild + " " + KernelVersion

// Machine is what one sandbox says of the machine it is: another for each scan,
// so that nobody can keep a list of them, and the same for one scan's attempts.
type Machine struct {
	Hostname string
	// Disk is the identity of its root file system, a UUID.
	Disk string
	// Layers names the container's layers, in hexadecimal.
	Layers string
	// Uptime is how long it runs already when the sandbox starts.
	Uptime time.Duration

	runner, project, pipeline, job uint32
	commit                         string
}

// MachineOf makes up the machine that a scan runs on.
func MachineOf(id scan.ID) Machine {
	sum := sha256.Sum256([]byte("machine of " + string(id)))
	number := func(i int, low, high uint32) uint32 {
		return low + binary.LittleEndian.Uint32(sum[i:])%(high-low)
	}
	m := Machine{runner: number(0, 12, 90), project: number(4, 100, 2000), pipeline: number(8, 20_000, 90_000), job: number(12, 200_000, 900_000),
		Uptime: time.Duration(number(16, 3*86400, 40*86400)) * time.Second}
	more := sha256.Sum256(sum[:])
	token := make([]byte, 8)
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	for i := range token {
		token[i] = letters[int(more[i])%len(letters)]
	}
	m.Hostname = fmt.Sprintf("runner-%s-project-%d-concurrent-0", token, m.project)
	m.commit = hex.EncodeToString(more[12:])
	m.Layers = hex.EncodeToString(sum[:])
	d := more[:16]
	m.Disk = fmt.Sprintf("%x-%x-4%03x-a%03x-%x", d[:4], d[4:6], uint16(d[6])<<4|7, uint16(d[8])<<4|3, d[10:16])
	return m
}

// Env are the variables that a GitLab runner gives to a job, those that other
// programs ask for: which job it is, and no credential.
func (m Machine) Env() []string {
	const server = "https://gitlab.example.com"
	return []string{
		"CI_SERVER=yes", "CI_SERVER_NAME=GitLab", "CI_SERVER_HOST=gitlab.example.com", "CI_SERVER_URL=" + server, "CI_API_V4_URL=" + server + "/api/v4",
		"CI_SERVER_VERSION=17.6.1", "CI_BUILDS_DIR=/builds", "CI_CONCURRENT_ID=0", "CI_CONCURRENT_PROJECT_ID=0",
		fmt.Sprintf("CI_RUNNER_ID=%d", m.runner), "CI_RUNNER_VERSION=17.6.0", "CI_RUNNER_EXECUTABLE_ARCH=linux/amd64",
		fmt.Sprintf("CI_PROJECT_ID=%d", m.project), "CI_PROJECT_NAME=project", "CI_PROJECT_NAMESPACE=platform", "CI_PROJECT_PATH=platform/project", "CI_PROJECT_URL=" + server + "/platform/project",
		fmt.Sprintf("CI_PIPELINE_ID=%d", m.pipeline), "CI_PIPELINE_SOURCE=push", fmt.Sprintf("CI_JOB_ID=%d", m.job), "CI_JOB_NAME=build", "CI_JOB_STAGE=build",
		"CI_COMMIT_SHA=" + m.commit, "CI_COMMIT_SHORT_SHA=" + m.commit[:8], "CI_COMMIT_BRANCH=main", "CI_COMMIT_REF_NAME=main", "CI_DEFAULT_BRANCH=main",
		"GITLAB_USER_LOGIN=build",
	}
}

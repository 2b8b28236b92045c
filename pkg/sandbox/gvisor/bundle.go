package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/home"
)

// Where things are inside the sandbox.
const homeDir = guest.RootHome

// bundle is an OCI bundle on disk.
type bundle struct {
	dir  string // holds config.json and rootfs
	root string // rootfs
}

// newBundle lays out the sandbox's own root and writes its config.json. The
// host's files appear read-only, and only those a build needs; everything
// writable is covered by gVisor's overlay in memory.
func newBundle(dir string, s sandbox.Spec, recipe ecosystem.Recipe, tools toolchain, hole *host) (bundle, error) {
	b := bundle{dir: dir, root: filepath.Join(dir, "rootfs")}
	const op = "gvisor: prepare the sandbox's root"
	mounts, err := b.layout(s, recipe, tools)
	if err != nil {
		return b, fault.New(op, fault.Transient, err)
	}
	machine := guest.MachineOf(s.ScanID)
	if err := b.populateEtc(machine); err != nil {
		return b, fault.New(op, fault.Transient, err)
	}
	if err := home.Write(filepath.Join(b.root, homeDir), s.Canaries); err != nil {
		return b, fault.New(op, fault.Transient, err)
	}
	if err := b.age(machine, time.Now()); err != nil {
		return b, fault.New(op, fault.Transient, err)
	}
	cwd := guest.Dir(s.Project.Root)
	recipe.Argv = guest.UnderInit(recipe.Argv, recipe.Steps...)
	if err := hole.equip(b); err != nil {
		return b, fault.New(op, fault.Transient, err)
	}
	recipe.Env = slices.Concat(recipe.Env, hole.env())
	spec := spec(s, recipe, tools, mounts, cwd, machine)
	raw, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return b, fault.New(op, fault.Permanent, err)
	}
	return b, fault.New(op, fault.Transient, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600))
}

func spec(s sandbox.Spec, recipe ecosystem.Recipe, tools toolchain, mounts []specs.Mount, cwd string, machine guest.Machine) *specs.Spec {
	env := slices.Concat([]string{"PATH=" + tools.path}, guest.Root.Env(s.ScanID), machine.Env(), s.Canaries.Env(), recipe.Env)
	// What installing as root needs inside gVisor's own kernel. None of these
	// is a capability on the host.
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
	return &specs.Spec{
		Version:  "1.1.0",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: machine.Hostname,
		Process: &specs.Process{
			Args: recipe.Argv, Env: env, Cwd: cwd,
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Soft: 65536, Hard: 65536},
				{Type: "RLIMIT_CORE"},
			},
		},
		Mounts: mounts,
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}},
		},
	}
}

// layout makes the root's directories and returns what is mounted over them.
func (b bundle) layout(s sandbox.Spec, recipe ecosystem.Recipe, tools toolchain) ([]specs.Mount, error) {
	for _, d := range []string{"proc", "dev", "sys", "usr", "etc", "tmp", "var/tmp", "var/cache", "var/lib", "var/log", "run", "home", "opt", "mnt", "srv", homeDir, guest.Work} {
		if err := os.MkdirAll(filepath.Join(b.root, d), 0o755); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(b.root, d), 0o1777); err != nil {
			return nil, err
		}
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777", "size=256m"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		readOnly("/usr", "/usr"),
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		m, err := b.systemDir(name)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m...)
	}
	for _, p := range tools.extra {
		if err := os.MkdirAll(filepath.Join(b.root, p), 0o755); err != nil {
			return nil, err
		}
		mounts = append(mounts, readOnly(p, p))
	}
	mounts = append(mounts, writable(s.Dir, guest.Work))
	if cacheDir := recipe.CacheDir(homeDir); s.CacheDir != "" && cacheDir != "" {
		if err := os.MkdirAll(filepath.Join(b.root, cacheDir), 0o755); err != nil {
			return nil, err
		}
		mounts = append(mounts, writable(s.CacheDir, cacheDir))
	}
	return mounts, nil
}

// systemDir gives the sandbox the host's /bin, /lib and the like: the same link
// into /usr where the host has one, a mount where it is a directory.
func (b bundle) systemDir(name string) ([]specs.Mount, error) {
	at := filepath.Join("/", name)
	info, err := os.Lstat(at)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(at)
		if err != nil {
			return nil, err
		}
		return nil, os.Symlink(target, filepath.Join(b.root, name))
	}
	if err := os.MkdirAll(filepath.Join(b.root, name), 0o755); err != nil {
		return nil, err
	}
	return []specs.Mount{readOnly(at, at)}, nil
}

func readOnly(from, to string) specs.Mount {
	return specs.Mount{Type: "bind", Source: from, Destination: to, Options: []string{"bind", "ro", "nosuid", "nodev"}}
}

// writable mounts a host directory for writing in appearance only: all mounts
// have an overlay in memory, and the host's files are opened for reading.
func writable(from, to string) specs.Mount {
	return specs.Mount{Type: "bind", Source: from, Destination: to, Options: []string{"bind", "rw", "nosuid", "nodev"}}
}

// write makes a file below the root, with its directories.
func (b bundle) write(name string, mode os.FileMode, format string, args ...any) error {
	p := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, fmt.Appendf(nil, format, args...), mode)
}

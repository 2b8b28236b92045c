package gvisor

import (
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// preflight reports whether the sandbox has to run rootless, or why it can't
// run at all.
func preflight() (rootless bool, err error) {
	if goruntime.GOOS != "linux" || goruntime.GOARCH != "amd64" {
		return false, fault.Errorf(fault.Permanent, "gVisor sandboxes need Linux on x86-64, this is %s on %s: scan through a remote Falconer instead (falconer scan --server URL)", goruntime.GOOS, goruntime.GOARCH)
	}
	if err := namespaces(os.Geteuid() != 0); err != nil {
		return false, err
	}
	return os.Geteuid() != 0, nil
}

// namespaces tries what the sandbox needs: new namespaces, inside a user
// namespace unless we are root.
func namespaces(rootless bool) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	if rootless {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	return fault.Errorf(fault.Permanent, "gVisor can't run here: creating namespaces failed (%v). %s", err, advice(rootless))
}

// advice says what to change, from what the kernel tells of itself.
func advice(rootless bool) string {
	if !rootless {
		return "This root user lacks CAP_SYS_ADMIN, as in an unprivileged container: give the container that capability, or run as an ordinary user where user namespaces are allowed."
	}
	read := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(b))
	}
	switch {
	case read("user/max_user_namespaces") == "0":
		return "User namespaces are switched off: set user.max_user_namespaces above 0 (sysctl), or run as root."
	case read("kernel/unprivileged_userns_clone") == "0":
		return "Unprivileged user namespaces are switched off: set kernel.unprivileged_userns_clone=1 (sysctl), or run as root."
	case read("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces: add a profile that allows userns to falconer, or run as root."
	}
	return "Run as root, or allow unprivileged user namespaces."
}

package runtime

import (
	"strings"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
)

// mountLine is a mount as /proc shows it.
type mountLine struct{ source, kind, options, super string }

// shown is how the mount at a path looks in a container on a machine with one
// disk; false for one that a container would not have: what gVisor mounts from
// the host is part of the image there.
func shown(at, kind string, o GuiseOptions) (mountLine, bool) {
	const quiet = "rw,nosuid,nodev,noexec,relatime"
	layer := "/var/lib/containers/storage/overlay/" + o.Layers
	switch {
	case at == "/":
		return mountLine{"overlay", "overlay", "rw,relatime", "rw,lowerdir=/var/lib/containers/storage/overlay/l/" + strings.ToUpper(o.Layers[:min(26, len(o.Layers))]) +
			",upperdir=" + layer + "/diff,workdir=" + layer + "/work"}, true
	case at == guest.Work:
		return mountLine{"/dev/sda1", "ext4", "rw,relatime", "rw,discard,errors=remount-ro"}, true
	case kind == "dev":
		return mountLine{"tmpfs", "tmpfs", "rw,nosuid", "rw,size=65536k,mode=755,inode64"}, true
	case at == "/dev/shm":
		return mountLine{"shm", "tmpfs", quiet, "rw,size=262144k,inode64"}, true
	case at == "/tmp":
		return mountLine{"tmpfs", "tmpfs", "rw,nosuid,nodev,relatime", "rw,inode64"}, true
	case kind == "9p", kind == "overlay":
		return mountLine{}, false
	case kind == "proc":
		return mountLine{"proc", "proc", quiet, "rw"}, true
	case kind == "sysfs":
		return mountLine{"sysfs", "sysfs", "ro,nosuid,nodev,noexec,relatime", "ro"}, true
	case kind == "devpts":
		return mountLine{"devpts", "devpts", "rw,nosuid,noexec,relatime", "rw,gid=5,mode=620,ptmxmode=666"}, true
	}
	return mountLine{kind, kind, "rw,relatime", "rw"}, true
}

// mounts words /proc/PID/mounts anew (fstab(5)).
func mounts(text string, o GuiseOptions) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		if m, ok := shown(f[1], f[2], o); ok {
			options := m.options
			if _, more, ok := strings.Cut(m.super, ","); ok {
				options += "," + more
			}
			out.WriteString(m.source + " " + f[1] + " " + m.kind + " " + options + " 0 0\n")
		}
	}
	return out.String()
}

// mountInfo words /proc/PID/mountinfo anew (proc_pid_mountinfo(5)): ID, parent,
// device, root, mount point, options, "-", type, source, super options.
func mountInfo(text string, o GuiseOptions) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		if m, ok := shown(f[4], f[len(f)-3], o); ok {
			device, root := f[2], f[3]
			if m.source == "/dev/sda1" {
				device, root = "8:1", "/var/lib/containers/storage/volumes/"+o.Layers[len(o.Layers)/2:]+"/_data"
			}
			out.WriteString(strings.Join([]string{f[0], f[1], device, root, f[4], m.options, "-", m.kind, m.source, m.super}, " ") + "\n")
		}
	}
	return out.String()
}

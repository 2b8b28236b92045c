package registry

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// The sandbox's platform in Node's words.
const (
	sandboxOS  = "linux"
	sandboxCPU = "x64"
)

// HostLibc names the C library of this machine ("glibc" or "musl"), which the
// sandbox shares.
func HostLibc() string {
	if found, err := filepath.Glob("/lib/ld-musl-*"); err == nil && len(found) > 0 {
		return "musl"
	}
	return "glibc"
}

// installable reports whether npm would install p on a machine with the given
// C library ("" is either). Only optional packages may be left out.
func installable(p ecosystem.Package, libc string) bool {
	return !p.Optional ||
		allows(p.OS, sandboxOS) && allows(p.CPU, sandboxCPU) && (libc == "" || allows(p.Libc, libc))
}

// allows reads npm's os, cpu and libc lists: names to allow, or names to
// refuse with a leading "!". An empty list or "any" allows everything.
func allows(list []string, value string) bool {
	if len(list) == 0 || slices.Equal(list, []string{"any"}) || slices.Contains(list, value) && !slices.Contains(list, "!"+value) {
		return true
	}
	return !slices.Contains(list, "!"+value) &&
		!slices.ContainsFunc(list, func(s string) bool { return !strings.HasPrefix(s, "!") })
}

package dossier

import "runtime/debug"

// BuildVersion is falconer's own version as the build knows it, for programs
// that have no better one.
func BuildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

package main

import "path/filepath"

// modulesDir is where npm's own modules are kept in one file: below
// XDG_STATE_HOME, or "" where there is none. It is not below the download
// cache: what that holds is verified against lockfiles, so that pipelines may
// share it, and this is not.
func modulesDir(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "falconer", "modules")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "falconer", "modules")
	}
	return ""
}

package seccomp

import (
	"os"
	"path/filepath"
)

// Names (argv[0]) under which the program is a stage of this driver.
const (
	launcherName = "falconer-seccomp"
	enterName    = "falconer-seccomp-enter"
)

// Dispatch turns the process into a stage of this driver if it was started
// under a stage's name, and returns otherwise. A program that uses this driver
// calls it first in main.
func Dispatch() {
	switch filepath.Base(os.Args[0]) {
	case launcherName:
		os.Exit(launch())
	case enterName:
		os.Exit(enter())
	}
}

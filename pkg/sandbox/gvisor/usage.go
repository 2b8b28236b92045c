package gvisor

import (
	"os"
	"path/filepath"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/usage"
	"github.com/falconer-sec/falconer/pkg/sandbox"
)

// hookOnly asks what lies unpacked which packages are there for their scripts
// alone. Where the package manager unpacks in the sandbox, nothing is known.
func hookOnly(s sandbox.Spec) map[string]bool {
	if len(s.Prepared) == 0 {
		return nil
	}
	root, err := os.OpenRoot(filepath.Join(s.Dir, s.Project.Root)) // links don't lead out of it
	if err != nil {
		return nil // the sandbox says so when it starts
	}
	defer root.Close()
	return usage.HookOnly(root.FS(), s.Project)
}

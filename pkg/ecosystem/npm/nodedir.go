package npm

import (
	"os"
	"path/filepath"
)

// NodeDir returns the prefix whose include/node folder has the headers that
// match the given node binary, for node-gyp's nodedir setting; "" when they
// are not installed. Without them a native build would have to download them.
func NodeDir(node string) string {
	real, err := filepath.EvalSymlinks(node)
	if err != nil {
		return ""
	}
	prefix := filepath.Dir(filepath.Dir(real))
	if _, err := os.Stat(filepath.Join(prefix, "include", "node", "node_version.h")); err != nil {
		return ""
	}
	return prefix
}

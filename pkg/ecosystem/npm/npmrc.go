package npm

import (
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
)

const (
	configName = ".npmrc"
	maxConfig  = 1 << 20 // bytes of a .npmrc
)

// keptSettings are the keys of a project's .npmrc without which its lockfile
// may not validate. Both are booleans.
var keptSettings = [...]string{"legacy-peer-deps", "strict-peer-deps"}

// commandSettings name programs that npm would run in place of the system's.
var commandSettings = [...]string{"script-shell", "shell", "git", "node-gyp"}

// config reads the project's .npmrc, which npm in the sandbox does not get to
// see. It returns the settings to pass on, and notes those that would make a
// real install do what the scan can't show. A file written to evade this
// reading evades the note only.
func (r *reader) config() map[string]string {
	b, err := tree.Read(r.fsys, path.Join(r.root, configName), maxConfig)
	if err != nil {
		return nil // most projects have none
	}
	kept := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		key = strings.TrimSuffix(strings.Trim(strings.TrimSpace(key), `"'`), "[]")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch {
		case slices.Contains(keptSettings[:], key):
			kept[key] = "true"
			if value == "false" || value == "null" {
				kept[key] = "false"
			}
		case slices.Contains(commandSettings[:], key) && !systemProgram(value),
			key == "node-options" && !strings.HasPrefix(value, "--max-old-space-size="),
			key == "workspace":
			r.problem("%s sets %s to %.100q, which the scan does not apply", path.Join(r.root, configName), key, value)
		}
	}
	return kept
}

func systemProgram(program string) bool {
	return !strings.Contains(program, "/") ||
		slices.Contains([]string{"/bin", "/usr/bin", "/usr/local/bin"}, path.Dir(path.Clean(program)))
}

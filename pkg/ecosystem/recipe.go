package ecosystem

import (
	"path/filepath"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// RegistryNPM is the kind of registry that npm, yarn, pnpm and bun ask. A
// manager of another kind names it by its purl type ("pypi", "gem", "cargo").
const RegistryNPM = "npm"

// Recipe is how a manager installs a project inside the sandbox.
type Recipe struct {
	Version string   // changes when the recipe changes; part of the scan ID
	Argv    []string // the program and its arguments; found through the sandbox's PATH
	Env     []string // "NAME=value", added to the sandbox's base environment
	// Withhold lists files, relative to the project root, that must not be in
	// the sandbox: configuration that could skip or divert the install.
	Withhold []string
	// Programs have to be on the sandbox's PATH; the manager's own is the first.
	Programs []Program
	// Image names the container image that has Programs, where the sandbox is a
	// container: an installation knows images by these names.
	Image string
	// Registry is the kind of registry that answers at Setting.Registry, and all
	// that the sandbox can reach; "" for none.
	Registry string
	// Cache is where the download cache appears inside, relative to the home
	// directory; "" if the manager can make no use of it.
	Cache string
	// Own are absolute path prefixes inside, each with a slash at its end or cut
	// within a name, below which the manager writes what it unpacks. Its own
	// calls there go unreported; its children's do not.
	Own []string
	// Steps run after an install that succeeded, one after the other, each
	// whatever became of the one before. Empty unless Setting.Import is set.
	Steps []Step
}

// Program is something that a recipe needs on the machine or in the image.
type Program struct {
	Name string
	// Hint says how one gets it, in words for a user: "npm install -g pnpm".
	Hint string
	// Prefix is a command that prints the prefix of the installation that the
	// program belongs to, on a line: what is found on a PATH may be a version
	// manager's, which looks for the real one, and lies beside its user's
	// credentials. Nil if what is found is the real one.
	Prefix []string
}

// PhaseImport is the phase of what a package does when it is loaded.
const PhaseImport = "import"

// Step is a program that runs after the install as a process of its own, beside
// the manager and not below it.
type Step struct {
	Phase   string // of what is found: PhaseImport
	Argv    []string
	Env     []string // added to the recipe's
	Timeout time.Duration
	// Packages are what it loads. Before it runs code of the i-th it says so with
	// Mark: see there.
	Packages []finding.Package
	// Apart says that it runs packages' code in processes of their own only: its
	// marks are its own then, however many packages it loads.
	Apart bool
}

// Setting is what a recipe needs to know about the sandbox.
type Setting struct {
	Registry string   // base URL of the registry proxy inside the sandbox, "http://127.0.0.1:4873/"
	Home     string   // home directory inside the sandbox
	Work     string   // the project root's absolute path inside the sandbox
	Scopes   []string // npm scopes in use ("@acme"), each to be sent to Registry too
	NodeDir  string   // prefix inside the sandbox that has include/node, for native builds; "" when there is none
	Prepared bool     // Preparer.Prepare has been called on the download cache that the sandbox sees
	Import   bool     // load packages after the install
}

// Names lists the programs' names.
func (r Recipe) Names() []string {
	var out []string
	for _, p := range r.Programs {
		out = append(out, p.Name)
	}
	return out
}

// CacheDir is where the download cache appears inside a sandbox with that home
// directory; "" for nowhere.
func (r Recipe) CacheDir(home string) string {
	if r.Cache == "" {
		return ""
	}
	return filepath.Join(home, r.Cache)
}

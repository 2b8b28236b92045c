// Package bundler is the ecosystem.Manager for Ruby's Bundler.
//
// It guarantees:
//   - Reading a project executes nothing (a Gemfile is a program, and is not
//     read) and is bounded: MaxLockfile bytes, MaxPackages gems.
//   - A gem that does not come from a registry, or that a lockfile with checksums
//     has none for, is a Problem.
//   - The project's own .bundle/config, which outranks the environment, is
//     withheld: it could leave gems out.
package bundler

import "github.com/falconer-sec/falconer/pkg/ecosystem"

// Name is the manager's name; its package URLs are of type "gem".
const Name = "bundler"

// Limits on what is read from a project.
const (
	MaxManifest = 4 << 20 // bytes of a Gemfile
	MaxLockfile = 8 << 20 // bytes of a Gemfile.lock
	MaxPackages = 20_000
	MaxProblems = 100
	maxName     = 256 // bytes of a name or a version
)

// Manager is Bundler. Its zero value is ready to use and safe for concurrent use.
type Manager struct{}

var _ ecosystem.Watched = Manager{}

// Name returns "bundler".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string {
	return []string{"Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".ruby-version"}
}

// Package composer is the ecosystem.Manager for PHP's Composer.
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxLockfile bytes,
//     MaxPackages packages. Keys are matched exactly, as PHP does.
//   - A package that has no archive, or that comes from a folder or a repository
//     of source code, is a Problem.
//   - Plugins run inside Composer itself, where no one can tell them from it. So
//     a first install runs none, and each plugin has an install of its own.
package composer

import "github.com/falconer-sec/falconer/pkg/ecosystem"

// Name is the manager's name, its purl type and the kind of its registry.
const Name = "composer"

// Limits on what is read from a project.
const (
	MaxManifest = 4 << 20  // bytes of a composer.json
	MaxLockfile = 32 << 20 // bytes of a composer.lock
	MaxPackages = 20_000
	MaxProblems = 100
	maxName     = 256 // bytes of a name or a version
)

const (
	manifestName = "composer.json"
	lockfileName = "composer.lock"
)

// Manager is Composer. Its zero value is ready to use and safe for concurrent
// use.
type Manager struct{}

var _ ecosystem.Watched = Manager{}

// Name returns "composer".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string { return []string{manifestName, lockfileName} }

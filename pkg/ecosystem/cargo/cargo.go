// Package cargo is the ecosystem.Manager for cargo.
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxLockfile bytes,
//     MaxPackages packages.
//   - A package that does not come from a registry with a checksum is a Problem.
//   - What is run is what a build runs: build scripts and procedural macros.
//     Other code of a crate runs when the finished program does, and a scan does
//     not start that.
package cargo

import "github.com/falconer-sec/falconer/pkg/ecosystem"

// Name is the manager's name, its purl type and the kind of its registry.
const Name = "cargo"

// Limits on what is read from a project.
const (
	MaxManifest = 4 << 20  // bytes of a Cargo.toml
	MaxLockfile = 16 << 20 // bytes of a Cargo.lock
	MaxPackages = 20_000
	MaxProblems = 100
	maxName     = 256 // bytes of a name or a version
)

const (
	manifestName = "Cargo.toml"
	lockfileName = "Cargo.lock"
)

// Manager is cargo. Its zero value is ready to use and safe for concurrent use.
type Manager struct{}

var _ ecosystem.Watched = Manager{}

// Name returns "cargo".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string {
	return []string{manifestName, lockfileName, "config.toml", "build.rs"}
}

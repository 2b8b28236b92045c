// Package gomod is the ecosystem.Manager for Go modules.
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxFile bytes a file,
//     MaxPackages modules.
//   - A required module that go.sum has no hash for, or that a replace sends
//     elsewhere, is a Problem.
//   - What is run is what a build runs (cgo) and, where asked for, each directly
//     imported package's initialisation. go generate is never run by a build, and
//     not by a scan.
package gomod

import "github.com/falconer-sec/falconer/pkg/ecosystem"

// Name is the manager's name; its package URLs are of type "golang".
const Name = "go"

// Limits on what is read from a project.
const (
	MaxFile     = 8 << 20 // bytes of a go.mod or a go.sum
	MaxPackages = 20_000
	MaxProblems = 100
)

const (
	manifestName = "go.mod"
	lockfileName = "go.sum"
)

// Manager is the go command. Its zero value is ready to use and safe for
// concurrent use.
type Manager struct{}

var _ ecosystem.Watched = Manager{}

// Name returns "go".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string { return []string{manifestName, lockfileName, "modules.txt"} }

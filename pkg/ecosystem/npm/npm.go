// Package npm is the ecosystem.Manager for npm (versions 10 and 11).
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxManifest and
//     MaxLockfile bytes, MaxPackages entries, MaxWalk directory entries.
//   - JSON keys are matched exactly, as npm does. encoding/json alone would
//     take "Integrity" for "integrity" and read another lockfile than npm.
//   - A lockfile key can't point outside the source it came with.
//   - The recipe overrides every setting of the project's own .npmrc that
//     would skip, redirect or hide the install (see recipe.go).
package npm

import (
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Name is the manager's name and its purl type.
const Name = "npm"

// Limits on what is read from a project.
const (
	MaxManifest = 4 << 20   // bytes of a package.json
	MaxLockfile = 128 << 20 // bytes of a lockfile
	MaxPackages = 100_000   // entries of a lockfile
	MaxWalk     = 500_000   // directory entries looked at by Detect
	MaxDepth    = 32        // folders below the top that Detect descends to
	MaxProblems = 100       // problems listed; the rest is counted
)

// Manager is npm. Its zero value is ready to use and safe for concurrent use.
type Manager struct{}

var (
	_ ecosystem.Watched = Manager{}
	_ ecosystem.Locator = Manager{}
)

// Locate implements ecosystem.Locator.
func (Manager) Locate(p ecosystem.Project, dir, version string) (finding.Package, bool) {
	return node.Locate(p, dir, version)
}

// Name returns "npm".
func (Manager) Name() string { return Name }

// Manifests implements ecosystem.Watched.
func (Manager) Manifests() []string {
	return append([]string{node.ManifestName, configName}, lockfileNames[:]...)
}

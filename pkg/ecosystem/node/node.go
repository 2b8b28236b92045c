// Package node is what the package managers of Node.js have in common: the
// manifest, names, workspaces, how lifecycle scripts are recognised, and how
// packages are loaded after an install.
//
// It guarantees:
//   - Reading a source executes nothing and is bounded in bytes, entries and
//     depth. What is malformed is fault.Invalid and names the file.
//   - JSON keys are matched exactly, as the managers do. encoding/json alone
//     would take "Integrity" for "integrity" and read another file than they.
//   - A name or a version that leaves Load is one that a registry can have.
package node

// Limits on what is read from a project.
const (
	MaxLockfile = 64 << 20 // bytes of a lockfile
	MaxPackages = 100_000  // entries of a lockfile
	MaxProblems = 100      // problems listed; the rest is counted
)

// Program is Node.js itself, which recipes need.
const Program = "node"

// ProgramHint says how one gets it.
const ProgramHint = "install Node.js"

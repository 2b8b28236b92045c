// Package ecosystem knows the package managers: how to find a project of each,
// what its lockfile pins, how to install exactly that inside a sandbox, and
// which package a lifecycle script belongs to. One folder a manager, and one line
// in package managers.
//
// A new manager says in its Recipe everything that the rest needs to know of
// it: the programs and the image that it takes, the kind of registry that it
// asks, where its download cache lies, what it loads after the install. Where
// it asks a kind of registry that is new, that kind is a registry.Gateway.
// What a project needs and a machine lacks is said of each such project, by
// the driver; a Manager detects and reads projects whether or not its programs
// are there.
//
// Manifests and lockfiles are hostile input: reading them is bounded in size
// and depth, never executes anything, and a malformed one is a fault.Invalid
// error that names the file.
package ecosystem

import (
	"io/fs"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Package is one third-party package that a lockfile pins.
type Package struct {
	finding.Package
	Integrity  string // Subresource Integrity string ("sha512-..."), "" when the lockfile has none
	Resolved   string // address the lockfile records, "" when it records none
	HasScripts bool   // the lockfile says that it has install scripts
	Optional   bool
	Dev        bool
	Link       bool // a workspace or file: link, not fetched
	Bundled    bool // comes inside another package's archive, not fetched
	Foreign    bool // comes from git, an http address or a file, not from a registry

	// OS, CPU and Libc restrict where an Optional package is installed, in the
	// manager's own words; empty means anywhere.
	OS, CPU, Libc []string
}

// Project is one project root with its lockfile read.
type Project struct {
	Manager  string    // manager's name, "npm"
	Root     string    // relative to the source, "." for the top
	Lockfile string    // relative to Root; "" when the project has none
	Digest   string    // "sha256:<hex>" of the lockfile (of the manifest when there is none)
	Packages []Package // sorted by Path
	// Problems lists what makes the lockfile untrustworthy as a description of
	// the install (it disagrees with the manifest, an entry has no integrity).
	Problems []string
	// Imports are what a user of the project loads: the direct production
	// dependencies of the project and of its own packages, in the order in which
	// they are loaded after the install.
	Imports []Import
	// Settings are the few settings of the project's own configuration that
	// the install needs and that the recipe passes on.
	Settings map[string]string
}

// Import is one dependency as the code of the project asks for it.
type Import struct {
	Name    string          // what it is asked for by, an alias included
	From    string          // folder of the package that asks, relative to Root
	Package finding.Package // zero where the lockfile does not tell
}

// Exec is a program start as the sensor saw it, made by the package manager
// itself (never by a lifecycle script or its children).
type Exec struct {
	Path string // binary
	Argv []string
	Env  []string // "NAME=value"
	Cwd  string   // absolute, inside the sandbox
}

// Place says on whose behalf a process runs.
type Place struct {
	Package finding.Package // zero for the project itself
	Script  string          // "postinstall"
	Phase   string          // "install"
}

// Prepared is a package that lies unpacked where the manager would install it,
// with the content that the lockfile pins.
type Prepared struct {
	Path      string // relative to the project's root
	Integrity string // the lockfile's
}

// Preparer is a Manager that can take over packages which were unpacked before
// it runs.
type Preparer interface {
	Manager
	// Prepare leaves in the download cache what the recipe needs for that
	// (Setting.Prepared). modules is the manager's own code in one file, nil if
	// it is to load it from where it is installed. Errors are transient.
	Prepare(cacheDir string, packages []Prepared, modules []byte) error
}

// Watched is a Manager that knows the files which decide what an install
// does. Without it every change to a source counts as a change of the install.
type Watched interface {
	Manager
	// Manifests returns those files' base names.
	Manifests() []string
}

// Locator is a Manager whose Recipe's Steps make marks of the kind MarkIn.
type Locator interface {
	Manager
	// Locate returns the package whose folder dir, relative to p's root, is or
	// lies in. The version is what the folder's manifest says, "" if it was not
	// looked up; ok is false for a folder of none.
	Locate(p Project, dir, version string) (pkg finding.Package, ok bool)
}

// Manager is one package manager.
type Manager interface {
	// Name is the manager's lower-case name, "pnpm". It is part of scans' IDs.
	Name() string
	// Detect returns the roots, relative to fsys, that have this manager's
	// manifest and are projects of their own (a workspace member is not).
	// Nothing found is an empty list. Errors are fault.Invalid.
	Detect(fsys fs.FS) ([]string, error)
	// Load reads the project at root. A missing or malformed lockfile is
	// fault.Invalid.
	Load(fsys fs.FS, root string) (Project, error)
	// Recipe returns how to install p, and what is done after that. What does
	// not depend on where things are (Version, Withhold, Programs, Image,
	// Registry, Cache) is the same for a zero Setting.
	Recipe(p Project, s Setting) Recipe
	// Place names the package and script that e starts, if e is the manager
	// starting a lifecycle script; ok is false for anything else.
	Place(p Project, s Setting, e Exec) (place Place, ok bool)
}

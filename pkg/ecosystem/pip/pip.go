// Package pip is the ecosystem.Manager for pip and its requirements files, and
// what the managers of Python that install through pip share with it.
//
// It guarantees:
//   - Reading a project executes nothing and is bounded: MaxFile bytes a file,
//     MaxFiles files, MaxPackages requirements.
//   - A file that a requirements file includes can't lie outside the source.
//   - What a requirements file leaves open (a version, a hash, where it comes
//     from) is a Problem of the project: the install is then not what the files
//     say, and a scan of it not one of anybody else's install.
package pip

// Name is the manager's name; its package URLs are of type "pypi".
const Name = "pip"

// Limits on what is read from a project.
const (
	MaxFile     = 8 << 20 // bytes of one requirements file
	MaxFiles    = 64      // files of one project, included ones counted
	MaxPackages = 20_000  // requirements of a project
	MaxProblems = 100     // problems listed; the rest is counted
	maxName     = 256     // bytes of a name or a version
)

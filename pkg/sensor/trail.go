package sensor

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Limits of what is remembered of a run.
const (
	// MaxWritten bounds the files remembered as written by scripts.
	MaxWritten = 50_000
	// MaxCounted bounds what is counted of one kind and package: rules compare
	// counts with small numbers.
	MaxCounted = 256
)

// trail remembers what each package's scripts have done so far, for the rules
// that no single event can answer: how many directories were looked through,
// how many files were taken away, who wrote a program that is run later.
type trail struct {
	c        Config
	written  map[string]string // by path: the program that wrote it
	counts   map[countKey]map[string]struct{}
	overflow int64
}

type countKey struct {
	pkg  string // where the package is installed, "" for what has no place
	kind byte   // one of the kinds below
}

const (
	listedDirs   = 'd'
	removedFiles = 'r'
	askedNames   = 'n'
)

// noted is what an event adds to the trail.
type noted struct {
	listed, removed, asked int64  // how many there are now; 0 if the event adds none
	own                    string // the file acted on, relative to the acting package's folder
	query                  string // the name that a name server is asked for
	writer                 string // of an exec: who wrote the program in this run
}

func newTrail(c Config) *trail {
	return &trail{c: c, written: map[string]string{}, counts: map[countKey]map[string]struct{}{}}
}

// note takes in what p did. What the package manager does itself leaves no
// trail.
func (t *trail) note(r *record.Record, p *Process) (n noted) {
	if !p.InLifecycle() {
		return n
	}
	failed := r.HasResult && r.Result < 0
	switch r.Kind {
	case record.KindExec:
		n.writer = t.written[p.Exe]
	case "open", "openat", "openat2", "creat":
		n.own = t.own(p, r.Path)
		if !failed {
			t.opened(r, p, &n)
		}
	case "unlink", "unlinkat", "rmdir", "truncate":
		if n.own = t.own(p, r.Path); !failed {
			t.gone(p, r.Path, &n)
			delete(t.written, r.Path)
		}
	case "rename", "renameat", "renameat2", "link", "linkat":
		if n.own = t.own(p, r.Path); !failed {
			t.moved(r, p, &n)
		}
	case "sendto", "sendmsg", "sendmmsg", "write", "writev":
		if ap, ok := r.AddrPort(); ok && ap.Port() == dnsPort {
			if n.query = question(r.Data, r.Proto == "tcp"); n.query != "" {
				n.asked = t.count(p, askedNames, n.query)
			}
		}
	}
	return n
}

const dnsPort = 53

func (t *trail) opened(r *record.Record, p *Process, n *noted) {
	writing := r.Flags&unix.O_ACCMODE != unix.O_RDONLY
	switch {
	case r.Flags&unix.O_DIRECTORY != 0:
		if t.private(r.Path) {
			n.listed = t.count(p, listedDirs, r.Path)
		}
	case writing && r.Flags&unix.O_CREAT != 0:
		if r.Flags&unix.O_TRUNC != 0 {
			t.gone(p, r.Path, n)
		}
		t.wrote(p, r.Path)
	case writing && r.Flags&unix.O_APPEND == 0: // it may be overwritten in place
		t.gone(p, r.Path, n)
	}
}

// moved follows a file to its other name. A new link to a file is no loss.
func (t *trail) moved(r *record.Record, p *Process, n *noted) {
	by, written := t.written[r.Path]
	if strings.HasPrefix(r.Kind, "rename") {
		t.gone(p, r.Path, n)
		delete(t.written, r.Path)
	}
	if delete(t.written, r.Target); written {
		t.remember(r.Target, by)
	}
}

// wrote remembers who wrote a file: a program of the system by its name, any
// other by its path, since names are free.
func (t *trail) wrote(p *Process, file string) {
	by := p.Exe
	if !p.Upper && !p.Memfd && (strings.HasPrefix(by, "/usr/") || strings.HasPrefix(by, "/bin/")) {
		by = base(by)
	}
	t.remember(file, by)
}

func (t *trail) remember(file, by string) {
	if _, known := t.written[file]; !known && len(t.written) >= MaxWritten {
		t.overflow++
		return
	}
	t.written[file] = by
}

// gone counts a file that was not made in this run and is no longer what it was.
func (t *trail) gone(p *Process, file string, n *noted) {
	if _, made := t.written[file]; made || !t.lasting(p, file) {
		return
	}
	n.removed = t.count(p, removedFiles, file)
}

// count adds to a package's set and returns its size, 0 if it was in there.
func (t *trail) count(p *Process, kind byte, what string) int64 {
	key := countKey{kind: kind}
	if p.placed {
		key.pkg = p.place.Package.Path
	}
	set := t.counts[key]
	if set == nil {
		set = map[string]struct{}{}
		t.counts[key] = set
	}
	if _, in := set[what]; in || len(set) >= MaxCounted {
		return 0
	}
	set[what] = struct{}{}
	return int64(len(set))
}

// own returns file relative to the folder of the package that p acts for, ""
// if it lies elsewhere or was written by a script.
func (t *trail) own(p *Process, file string) string {
	if !p.placed || p.place.Package.PURL == "" {
		return ""
	}
	rel, in := strings.CutPrefix(file, path.Join(t.c.Setting.Work, p.place.Package.Path)+"/")
	if _, written := t.written[file]; !in || written {
		return ""
	}
	return rel
}

// everyones are directories of which a build looks at any number.
var everyones = []string{"/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	"/opt", "/etc/ssl", "/etc/alternatives", "/etc/pki", "/run/lock"}

// caches are directories of a home that tools fill and empty.
var caches = []string{".npm", ".cache", ".node-gyp", ".electron-gyp", ".yarn", ".pnpm-store", ".local/share/pnpm", ".cargo/registry", ".rustup", ".gradle", ".m2/repository", ".pyenv", ".nvm"}

// private reports whether a directory is none that installing a package has to
// look through.
func (t *trail) private(dir string) bool {
	return path.IsAbs(dir) && !below(dir, t.c.Setting.Work) && !t.common(dir)
}

// lasting reports whether a file is someone's: not a build's own, a cache's, or
// in a folder that the package manager fills.
func (t *trail) lasting(p *Process, file string) bool {
	if !path.IsAbs(file) || t.common(file) || strings.Contains(file, "/node_modules/") {
		return false
	}
	project := p.placed && p.place.Package.PURL == "" // its own scripts may clean up
	return !project || !below(file, t.c.Setting.Work)
}

func (t *trail) common(file string) bool {
	for _, dir := range everyones {
		if below(file, dir) {
			return true
		}
	}
	if home := t.c.Setting.Home; home != "" {
		for _, dir := range caches {
			if below(file, path.Join(home, dir)) {
				return true
			}
		}
	}
	return false
}

// below reports whether file is dir or lies in it.
func below(file, dir string) bool {
	return dir != "" && strings.HasPrefix(file, dir) && (len(file) == len(dir) || file[len(dir)] == '/')
}

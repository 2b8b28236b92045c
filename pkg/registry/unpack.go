package registry

import (
	"context"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/unpack"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Limits of what Unpack writes for one scan. Beyond them npm unpacks, under the
// sandbox's own limits.
const (
	maxUnpackFiles   = 300_000
	maxUnpackBytes   = 1 << 30
	maxUnpackArchive = 64 << 20 // bytes of one archive; it is read into memory
)

// unpackers is how many archives are unpacked at a time.
const unpackers = 4

// Unpack writes the packages that p pins to where npm would put them below
// source, the folder that p's source was unpacked in, and returns those it
// wrote, sorted by path. Each has the content that the lockfile pins: it is
// verified here.
//
// It leaves to npm, and leaves nothing of: what no cache has, what does not
// come from a registry or has no integrity, archives of an unusual form, and
// whatever stands below such a package or in a node_modules folder that came
// with the source. Only a context that is done is an error.
func (m *Mirror) Unpack(ctx context.Context, p ecosystem.Project, source string) ([]ecosystem.Prepared, error) {
	root, err := os.OpenRoot(filepath.Join(source, filepath.FromSlash(p.Root)))
	if err != nil {
		return nil, fault.New("registry: unpack packages", fault.Transient, err)
	}
	defer root.Close()
	packages := placed(p)
	u := unpacking{m: m, root: root, packages: packages, nests: nests(packages)}
	u.pick(HostLibc())
	if err := u.all(ctx); err != nil {
		return nil, fault.New("registry: unpack packages", fault.Transient, err)
	}
	return u.settle(), nil
}

// placed maps the paths of packages that stand in a node_modules folder and
// are fetched. A path out of the root is npm's business.
func placed(p ecosystem.Project) map[string]ecosystem.Package {
	out := map[string]ecosystem.Package{}
	for _, pkg := range p.Packages {
		if !pkg.Link && !pkg.Bundled && filepath.IsLocal(pkg.Path) && modulesFolder(pkg.Path) != "" {
			out[pkg.Path] = pkg
		}
	}
	return out
}

// modulesFolder is the outermost node_modules folder that at lies in, "" for
// none.
func modulesFolder(at string) string {
	before, _, ok := strings.Cut("/"+at, "/node_modules/")
	if !ok {
		return ""
	}
	return strings.TrimPrefix(before+"/node_modules", "/")
}

// unpacking is one Unpack under way.
type unpacking struct {
	m        *Mirror
	root     *os.Root
	packages map[string]ecosystem.Package // by path
	nests    map[string]bool              // paths that others stand below
	paths    []string                     // to unpack, sorted: a package before those below it
	folders  map[string]bool              // outermost node_modules folders; false for those not to touch
	done     []unpack.Contents            // by index of paths
	failed   []bool
	files    atomic.Int64
	bytes    atomic.Int64
}

// pick chooses what to unpack, and makes the outermost folders.
func (u *unpacking) pick(libc string) {
	u.folders = map[string]bool{}
	picked := map[string]bool{"": true}
	for _, at := range slices.Sorted(maps.Keys(u.packages)) {
		pkg := u.packages[at]
		if pkg.Foreign || pkg.Version == "" || len(parseIntegrity(pkg.Integrity)) == 0 || !installable(pkg, libc) || !u.open(modulesFolder(at)) {
			continue
		}
		if picked[parent(at)] {
			picked[at] = true
			u.paths = append(u.paths, at)
		}
	}
	u.done, u.failed = make([]unpack.Contents, len(u.paths)), make([]bool, len(u.paths))
}

// parent is the package that the one at the given path stands in, "" for none.
func parent(at string) string {
	i := strings.LastIndex(at, "/node_modules/")
	if i < 0 || modulesFolder(at[:i]) == "" {
		return ""
	}
	return at[:i]
}

// open makes an outermost node_modules folder, in a real folder of the source
// and only if there is none.
func (u *unpacking) open(folder string) bool {
	if ok, known := u.folders[folder]; known {
		return ok
	}
	u.folders[folder] = false
	above := path.Dir(folder)
	for at := above; at != "."; at = path.Dir(at) {
		if info, err := u.root.Lstat(at); err != nil || !info.IsDir() {
			return false
		}
	}
	if u.root.Mkdir(folder, 0o755) != nil || u.root.Chmod(folder, 0o755) != nil {
		return false
	}
	u.folders[folder] = true
	return true
}

// all unpacks. What fails is noted.
func (u *unpacking) all(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(unpackers)
	for i := range u.paths {
		g.Go(func() error {
			var err error
			u.done[i], err = u.one(u.paths[i])
			u.failed[i] = err != nil
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (u *unpacking) one(at string) (unpack.Contents, error) {
	raw, err := u.m.verified(u.packages[at])
	if err != nil {
		return unpack.Contents{}, err
	}
	got, err := unpack.Archive(raw, u.root, at, unpack.Limits{
		Files: int(max(0, maxUnpackFiles-u.files.Load())), Bytes: max(0, maxUnpackBytes-u.bytes.Load())})
	u.files.Add(int64(got.Files))
	u.bytes.Add(got.Bytes)
	return got, err
}

// verified reads a package's archive from a cache, if its content is the pinned
// one.
func (m *Mirror) verified(pkg ecosystem.Package) ([]byte, error) {
	c, ok := m.cached(pinOf(pkg))
	if !ok {
		return nil, ErrNotFound
	}
	if c.size > maxUnpackArchive {
		return nil, ErrTooLarge
	}
	f, err := os.Open(c.in.path(c.digest))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, c.size)
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, err
	}
	h := newHash(c.digest.algo)
	h.Write(raw)
	if string(h.Sum(nil)) != c.digest.sum {
		return nil, ErrIntegrity
	}
	return raw, nil
}

// settle removes what failed and everything below it, and so the packages
// whose bundled ones share a folder with others: which of them counts is npm's
// decision.
func (u *unpacking) settle() []ecosystem.Prepared {
	drop := map[string]bool{}
	for i, at := range u.paths {
		drop[at] = u.failed[i] || drop[parent(at)] || u.done[i].Modules && u.nests[at]
	}
	var out []ecosystem.Prepared
	for _, at := range u.paths {
		if !drop[at] {
			out = append(out, ecosystem.Prepared{Path: at, Integrity: u.packages[at].Integrity})
			continue
		}
		if u.root.RemoveAll(at) != nil {
			return nil // npm removes all of it before it begins
		}
		if scope := path.Dir(at); strings.HasPrefix(path.Base(scope), "@") {
			_ = u.root.Remove(scope) // unless others of the scope are there
		}
	}
	return out
}

// nests tells of which packages others stand below.
func nests(packages map[string]ecosystem.Package) map[string]bool {
	out := map[string]bool{}
	for at := range packages {
		for above := parent(at); above != "" && !out[above]; above = parent(above) {
			out[above] = true
		}
	}
	return out
}

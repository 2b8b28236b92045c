package source

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Unpacked describes an archive that Unpack read.
type Unpacked struct {
	Files    int    // entries
	Bytes    int64  // bytes of all files together
	Stripped string // name of the top-level directory that was stripped, "" if none was
}

// Option changes how Unpack reads an archive.
type Option func(*unpacker)

// StripTop makes Unpack drop the archive's top-level directory if everything
// stands below a single one, as in the archives of GitLab and npm.
func StripTop() Option { return func(u *unpacker) { u.strip = true } }

// Unpack writes a gzip-compressed tar archive below dir, which must be empty
// or not exist. Permissions are reduced to the executable bit. Names that
// differ only in case stay different files.
//
// An archive that tries to leave the directory (traversal, absolute paths,
// links out), has hard links, devices or duplicate entries, or is damaged, is
// fault.Invalid; one beyond a limit is fault.TooLarge. Both errors name the
// entry. Everything else (a full disk, a context that is done) is
// fault.Transient. After an error nothing of the archive is left in dir.
func Unpack(ctx context.Context, r io.Reader, dir string, l Limits, opts ...Option) (out Unpacked, err error) {
	created, err := makeDir(dir)
	if err != nil {
		return Unpacked{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Unpacked{}, fault.New("source: open directory", fault.Transient, err)
	}
	defer root.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, clear(root))
			if created {
				_ = os.Remove(dir)
			}
		}
	}()
	u := &unpacker{root: root, limits: l.OrDefault(), seen: map[string]byte{}, buf: make([]byte, 64<<10)}
	for _, o := range opts {
		o(u)
	}
	if err := u.read(ctx, r); err != nil {
		return Unpacked{}, err
	}
	if err := u.stripTop(); err != nil {
		return Unpacked{}, err
	}
	if err := u.makeLinks(); err != nil {
		return Unpacked{}, err
	}
	return u.out, nil
}

// makeDir creates dir unless it exists and is empty.
func makeDir(dir string) (created bool, err error) {
	err = os.Mkdir(dir, 0o755)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, fault.New("source: unpack", fault.Transient, err)
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return false, fault.Errorf(fault.Permanent, "source: unpack: %s is not empty", dir)
	}
	return false, fault.New("source: unpack", fault.Transient, err)
}

// clear removes everything below root.
func clear(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	_ = f.Close()
	for _, name := range names {
		err = errors.Join(err, root.RemoveAll(name))
	}
	return err
}

// link is a symbolic link to be made once all files are in place: while files
// are written there is no link that could redirect them.
type link struct{ name, target string }

// unpacker reads one archive.
type unpacker struct {
	root   *os.Root
	limits Limits
	strip  bool
	seen   map[string]byte // tar type of each path; directories may be implied
	names  int             // bytes of the names in seen
	links  []link
	buf    []byte
	out    Unpacked
}

// read unpacks all entries but the links.
func (u *unpacker) read(ctx context.Context, r io.Reader) error {
	in := &countingReader{r: contextReader{ctx, r}, max: u.limits.Archive}
	zip, err := gzip.NewReader(bufio.NewReaderSize(in, 64<<10))
	if err != nil {
		return damaged("not a gzip archive", err)
	}
	plain := &ratioReader{r: zip, in: in, ratio: u.limits.Ratio}
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return damaged("not a tar archive", err)
		}
		if err := u.entry(h, tr); err != nil {
			return err
		}
	}
	return drain(plain)
}

// maxPadding is how many bytes may follow the end of the tar archive: tar
// pads to a block, and gzip's checksum stands behind it.
const maxPadding = 1 << 20

// drain reads the rest of the stream, which verifies gzip's checksum.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding+1))
	if err != nil {
		return damaged("damaged at its end", err)
	}
	if n > maxPadding {
		return fault.Errorf(fault.Invalid, "source: data follows the end of the archive")
	}
	return nil
}

// damaged wraps an error of the decoders. Errors that carry a Kind (limits)
// keep it; those of the context are transient; the rest is the archive's fault.
func damaged(what string, err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.New("source: unpack", fault.Transient, err)
	}
	return fault.New("source: "+what, fault.Invalid, err)
}

// entry unpacks one entry.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.out.Files++; u.out.Files > u.limits.Files {
		return fault.Errorf(fault.TooLarge, "source: entry %.80q is one of more than %d", h.Name, u.limits.Files)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // git puts the commit there
	}
	name, err := cleanEntry(h.Name)
	if err != nil {
		return err
	}
	if name == "" {
		if h.Typeflag == tar.TypeDir {
			return nil
		}
		return fault.Errorf(fault.Invalid, "source: entry %.80q has no name", h.Name)
	}
	if err := checkName(name, u.limits); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(name)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		u.links = append(u.links, link{name, h.Linkname})
		if u.names += len(h.Linkname); u.names > maxNames {
			return fault.Errorf(fault.TooLarge, "source: the names up to %.80q are longer than %s", name, size(maxNames))
		}
		return u.claim(name, tar.TypeSymlink)
	case tar.TypeLink:
		return fault.Errorf(fault.Invalid, "source: entry %.80q is a hard link", name)
	}
	return fault.Errorf(fault.Invalid, "source: entry %.80q is not a file, directory or symbolic link (type %q)", name, h.Typeflag)
}

// claim notes that a path is taken and creates the directories above it.
func (u *unpacker) claim(name string, typ byte) error {
	if u.seen[name] != 0 {
		return fault.Errorf(fault.Invalid, "source: entry %.80q appears twice", name)
	}
	if parent := path.Dir(name); parent != "." {
		if err := u.dir(parent); err != nil {
			return err
		}
	}
	if u.names += len(name); u.names > maxNames {
		return fault.Errorf(fault.TooLarge, "source: the names up to %.80q are longer than %s", name, size(maxNames))
	}
	u.seen[name] = typ
	return nil
}

// dir makes a directory and those above it, unless it was made before.
func (u *unpacker) dir(name string) error {
	switch u.seen[name] {
	case tar.TypeDir:
		return nil
	case 0:
	default:
		return fault.Errorf(fault.Invalid, "source: entry %.80q is a file or link, and a directory as well", name)
	}
	if len(u.seen) > 2*u.limits.Files { // entries, and directories they imply
		return fault.Errorf(fault.TooLarge, "source: directory %.80q is one of too many", name)
	}
	if err := u.claim(name, tar.TypeDir); err != nil {
		return err
	}
	return u.failed(name, u.root.Mkdir(name, 0o755))
}

// file writes a regular file.
func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if sparse(h) {
		return fault.Errorf(fault.Invalid, "source: entry %.80q is a sparse file", name)
	}
	if h.Size < 0 || h.Size > u.limits.Bytes-u.out.Bytes {
		return fault.Errorf(fault.TooLarge, "source: the files up to %.80q are larger than %s", name, size(u.limits.Bytes))
	}
	if err := u.claim(name, tar.TypeReg); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return u.failed(name, err)
	}
	out := &errorWriter{w: f}
	n, err := io.CopyBuffer(out, content, u.buf)
	u.out.Bytes += n
	if cerr := f.Close(); out.err == nil {
		out.err = cerr
	}
	if out.err != nil {
		return u.failed(name, out.err)
	}
	if err != nil {
		return damaged("entry "+printable(name)+" is damaged", err)
	}
	return nil
}

// sparse reports whether a file claims holes in the PAX way: a few bytes that
// unpack to any number of zeros.
func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// failed wraps an error of the file system. A name that exists, though the
// archive has it once, collided on a file system that folds case.
func (u *unpacker) failed(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fault.Errorf(fault.Invalid, "source: entry %.80q collides with another on this file system", name)
	}
	return fault.New("source: unpack "+printable(name), fault.Transient, err)
}

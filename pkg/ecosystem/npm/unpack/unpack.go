// Package unpack writes a package's archive to disk the way npm would.
//
// It guarantees:
//   - It takes only archives that can be read in one way: a single gzip member
//     that holds a plain ustar of files, folders and (skipped, as npm does)
//     links, in names and numbers without ambiguity, nothing behind its end.
//     Everything else is ErrUnusual: npm itself has to unpack it, in the
//     sandbox. So an archive can't show one content here and another to npm.
//   - What it writes is what npm writes: the first folder of each name
//     dropped, .gitignore as .npmignore, 0644 or 0755, no links, no devices.
//   - Nothing is written outside of the given folder, nothing is overwritten,
//     and Limits bound bytes and files.
package unpack

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ErrUnusual is returned for an archive that npm has to unpack itself: it is
// in an unusual form, damaged, or beyond a limit.
var ErrUnusual = errors.New("the archive has an unusual form")

// Limits bounds one archive's content. Zero values allow nothing.
type Limits struct {
	Files int   // files and folders
	Bytes int64 // bytes of all files together
}

// Contents says what was written.
type Contents struct {
	Files int
	Bytes int64
	// Modules says that the archive brings a node_modules folder: bundled
	// packages.
	Modules bool
}

// Archive writes the content of raw, a gzip-compressed tar archive, into the
// folder dir of root, which must not exist. Its errors are ErrUnusual and
// those of the file system; after one, dir holds a part of the archive.
func Archive(raw []byte, root *os.Root, dir string, l Limits) (Contents, error) {
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return Contents{}, err
	}
	below, err := root.OpenRoot(dir)
	if err != nil {
		return Contents{}, err
	}
	defer below.Close()
	u := unpacker{root: below, limits: l, seen: map[string]bool{".": true}}
	err = u.read(raw)
	return u.out, err
}

// unpacker reads one archive.
type unpacker struct {
	root    *os.Root
	limits  Limits
	top     string          // the folder that everything stands in
	seen    map[string]bool // names written; true for folders
	ignores map[string]bool // folders whose .npmignore has been seen
	buf     [64 << 10]byte
	out     Contents
}

func (u *unpacker) read(raw []byte) error {
	from := bytes.NewReader(raw) // an io.ByteReader: gzip reads no byte too many
	z, err := gzip.NewReader(from)
	if err != nil {
		return unusual("%v", err)
	}
	z.Multistream(false)
	if err := u.entries(z); err != nil {
		return err
	}
	if from.Len() > 0 {
		return unusual("%d bytes behind the compressed stream", from.Len())
	}
	return nil
}

// entries reads up to the end of the stream, which has to be blocks of zeros
// from the first one on.
func (u *unpacker) entries(z io.Reader) error {
	var block [blockSize]byte
	for {
		if _, err := io.ReadFull(z, block[:]); err != nil {
			return unusual("it ends without an end mark: %v", err)
		}
		if block == [blockSize]byte{} {
			return u.trailer(z)
		}
		h, err := parseHeader(&block)
		if err != nil {
			return err
		}
		if err := u.entry(h, z); err != nil {
			return err
		}
	}
}

// maxTrailer bounds the zeros behind the last entry, in bytes.
const maxTrailer = 1 << 20

func (u *unpacker) trailer(z io.Reader) error {
	total := 0
	for {
		n, err := z.Read(u.buf[:])
		if total += n; total > maxTrailer || len(bytes.Trim(u.buf[:n], "\x00")) > 0 {
			return unusual("content behind its end mark")
		}
		switch {
		case err == io.EOF && total < blockSize:
			return unusual("half an end mark")
		case err == io.EOF && total%blockSize == 0:
			return nil
		case err != nil:
			return unusual("it ends within a block: %v", err)
		}
	}
}

func (u *unpacker) entry(h header, z io.Reader) error {
	if u.out.Files++; u.out.Files > u.limits.Files {
		return unusual("more than %d files", u.limits.Files)
	}
	name, err := u.stripTop(h)
	if err != nil || h.kind == link {
		return err
	}
	first, _, _ := strings.Cut(name, "/")
	u.out.Modules = u.out.Modules || first == "node_modules"
	if h.kind == folder {
		return u.folder(name)
	}
	if u.out.Bytes += h.size; u.out.Bytes > u.limits.Bytes {
		return unusual("more than %d bytes", u.limits.Bytes)
	}
	// npm takes a .gitignore for an .npmignore, unless it has seen one there.
	switch at, base := path.Split(name); base {
	case ".npmignore":
		if u.ignores == nil {
			u.ignores = map[string]bool{}
		}
		u.ignores[at] = true
	case ".gitignore":
		if u.ignores[at] {
			return u.skip(z, h.size)
		}
		name = at + ".npmignore"
	}
	return u.file(name, h, z)
}

// stripTop drops the first folder of an entry's name, which has to be the same
// in all of them. "." is that folder itself.
func (u *unpacker) stripTop(h header) (string, error) {
	name := h.name
	if h.kind == folder {
		name = strings.TrimSuffix(name, "/")
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsFunc(name, odd) {
		return "", unusual("the name %.200q", h.name)
	}
	top, rest, ok := strings.Cut(name, "/")
	if u.top == "" {
		u.top = top
	}
	if top != u.top || !ok && h.kind == file {
		return "", unusual("%.200q stands outside of the folder %.200q", h.name, u.top)
	}
	if !ok {
		return ".", nil
	}
	return rest, nil
}

// odd reports characters that some reader might treat specially.
func odd(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\ufffd' }

func (u *unpacker) folder(name string) error {
	isFolder, ok := u.seen[name]
	switch {
	case ok && !isFolder:
		return unusual("%.200q is a file and a folder", name)
	case ok:
		return nil
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	u.seen[name] = true
	// It may be there: another package lies unpacked below it.
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return u.root.Chmod(name, 0o755) // whatever this process's umask is
}

func (u *unpacker) file(name string, h header, z io.Reader) error {
	if _, ok := u.seen[name]; ok {
		return unusual("%.200q is there twice", name)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	u.seen[name] = false
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, h.mode)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chmod(h.mode), u.copy(f, z, h.size))
	return errors.Join(err, f.Close())
}

func (u *unpacker) skip(z io.Reader, size int64) error { return u.copy(io.Discard, z, size) }

// copy writes size bytes and reads the padding behind them. It never asks for
// more than the entry has, so that a file is written in few calls.
func (u *unpacker) copy(w io.Writer, z io.Reader, size int64) error {
	padding := -size & (blockSize - 1)
	for left := size; left > 0; {
		n, err := io.ReadFull(z, u.buf[:min(left, int64(len(u.buf)))])
		if err != nil {
			return unusual("it ends within a file: %v", err)
		}
		if _, err := w.Write(u.buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	if _, err := io.ReadFull(z, u.buf[:padding]); err != nil {
		return unusual("it ends within a block: %v", err)
	}
	return nil
}

func unusual(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnusual, fmt.Sprintf(format, args...))
}

package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// MaxExcluded bounds how many paths Packed.Excluded names; its last entry
// counts the others.
const MaxExcluded = 1000

// Packed describes an archive that Pack wrote.
type Packed struct {
	Digest   string   // "sha256:<hex>" of the compressed bytes
	Size     int64    // compressed bytes
	Files    int      // entries
	Bytes    int64    // bytes of all files together
	Excluded []string // "path: reason", sorted
}

// Pack writes the directory as a gzip-compressed tar archive: entries sorted,
// times and owners zeroed, permissions reduced to the executable bit. Links
// are kept only if they stay inside the directory. Errors are fault.TooLarge
// beyond a limit (naming the path that exceeded it), fault.Permanent for a
// directory that can't be read, and w's own for a failed write.
func Pack(ctx context.Context, dir string, w io.Writer, l Limits) (Packed, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Packed{}, fault.New("source: open", fault.Permanent, err)
	}
	defer root.Close()
	l = l.OrDefault()
	sum := sha256.New()
	counted := &countingWriter{w: io.MultiWriter(w, sum), max: l.Archive}
	zip, err := gzip.NewWriterLevel(counted, gzip.BestSpeed)
	if err != nil {
		return Packed{}, fault.New("source: compress", fault.Permanent, err)
	}
	p := &packer{ctx: ctx, root: root, tar: tar.NewWriter(zip), limits: l, buf: make([]byte, 64<<10)}
	if err := p.dir("."); err != nil {
		return Packed{}, err
	}
	if err := errors.Join(p.tar.Close(), zip.Close()); err != nil {
		return Packed{}, fault.New("source: pack", fault.KindOf(err), err)
	}
	p.out.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	p.out.Size = counted.n
	p.out.Excluded = excludedList(p.excluded, p.hidden)
	return p.out, nil
}

// packer walks a directory and writes its archive.
type packer struct {
	ctx      context.Context
	root     *os.Root
	tar      *tar.Writer
	limits   Limits
	out      Packed
	excluded []string
	hidden   int // exclusions beyond MaxExcluded
	buf      []byte
}

// dir packs the content of a directory, in the order of names.
func (p *packer) dir(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return fault.New("source: pack", fault.Permanent, err)
	}
	entries, err := f.ReadDir(p.limits.Files + 1)
	_ = f.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return fault.New("source: read directory "+printable(name), fault.Permanent, err)
	}
	if len(entries) > p.limits.Files {
		return fault.Errorf(fault.TooLarge, "source: directory %.80q has more than %d entries", name, p.limits.Files)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if err := p.ctx.Err(); err != nil {
			return fault.New("source: pack", fault.Transient, err)
		}
		if err := p.entry(path.Join(name, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return nil
}

// entry packs one path of a directory.
func (p *packer) entry(name string, mode fs.FileMode) error {
	if reason, ok := Withheld(name); ok {
		p.exclude(name, reason)
		return nil
	}
	if err := checkName(name, p.limits); fault.KindOf(err) == fault.Invalid {
		p.exclude(printable(name), "not a usable name")
		return nil
	} else if err != nil {
		return err
	}
	if p.out.Files++; p.out.Files > p.limits.Files {
		return fault.Errorf(fault.TooLarge, "source: %q is one of more than %d files", name, p.limits.Files)
	}
	switch {
	case mode.IsDir():
		if err := p.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
			return err
		}
		return p.dir(name)
	case mode&fs.ModeSymlink != 0:
		return p.link(name)
	case mode.IsRegular():
		return p.file(name)
	}
	p.out.Files--
	p.exclude(name, "not a file, directory or link")
	return nil
}

// link packs a symbolic link, unless it leads out of the source.
func (p *packer) link(name string) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return fault.New("source: pack", fault.Permanent, err)
	}
	if err := checkLink(name, target); err != nil {
		p.out.Files--
		p.exclude(name, err.Error())
		return nil
	}
	return p.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

// file packs a regular file.
func (p *packer) file(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return fault.New("source: pack", fault.Permanent, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return fault.Errorf(fault.Permanent, "source: %q changed while it was packed: %w", name, err)
	}
	var content io.Reader = contextReader{p.ctx, f}
	length := info.Size()
	if isClientConfig(name) {
		if content, length, err = p.config(name, f, length); err != nil || content == nil {
			return err
		}
	} else {
		head := make([]byte, min(length, headSize))
		if _, err := io.ReadFull(f, head); err != nil {
			return fault.New("source: read "+printable(name), fault.Permanent, err)
		}
		if holdsKey(head) {
			p.out.Files--
			p.exclude(name, reasonKey)
			return nil
		}
		content = io.MultiReader(bytes.NewReader(head), content)
	}
	if p.out.Bytes += length; p.out.Bytes > p.limits.Bytes {
		return fault.Errorf(fault.TooLarge, "source: the files up to %q are larger than %s", name, size(p.limits.Bytes))
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := p.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: length, Mode: mode}); err != nil {
		return err
	}
	n, err := io.CopyBuffer(p.tar, io.LimitReader(content, length), p.buf)
	if err == nil && n < length {
		return fault.Errorf(fault.Permanent, "source: %q shrank while it was packed", name)
	}
	return fault.New("source: pack "+printable(name), fault.KindOf(err), err)
}

// config returns the content of a package manager's configuration without its
// credentials; nil means that the file was excluded.
func (p *packer) config(name string, f io.Reader, length int64) (io.Reader, int64, error) {
	if length > maxClientConfig {
		p.out.Files--
		p.exclude(name, "too large to be searched for credentials")
		return nil, 0, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxClientConfig))
	if err != nil {
		return nil, 0, fault.New("source: read "+printable(name), fault.Permanent, err)
	}
	b, changed := cleanConfig(b)
	if changed > 0 {
		p.exclude(name, fmt.Sprintf("%d lines with credentials removed, the rest kept", changed))
	}
	return bytes.NewReader(b), int64(len(b)), nil
}

// header writes an entry's header without what differs between machines.
func (p *packer) header(h *tar.Header) error {
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatPAX
	err := p.tar.WriteHeader(h)
	return fault.New("source: pack "+printable(h.Name), fault.KindOf(err), err)
}

// exclude notes a path that stays out of the archive.
func (p *packer) exclude(name, reason string) {
	if len(p.excluded) >= MaxExcluded-1 {
		p.hidden++
		return
	}
	p.excluded = append(p.excluded, name+": "+reason)
}

// excludedList sorts the exclusions and counts those that were not kept.
func excludedList(list []string, hidden int) []string {
	slices.Sort(list)
	if hidden > 0 {
		list = append(list, fmt.Sprintf("and %d more paths", hidden))
	}
	return list
}

// countingWriter counts bytes and refuses more than max.
type countingWriter struct {
	w   io.Writer
	n   int64
	max int64
}

// Write writes to the wrapped writer.
func (c *countingWriter) Write(b []byte) (int, error) {
	if c.n += int64(len(b)); c.n > c.max {
		return 0, fault.Errorf(fault.TooLarge, "source: the archive is larger than %s", size(c.max))
	}
	return c.w.Write(b)
}

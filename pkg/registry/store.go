package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// store is the content part of an npm cache (cacache's content-v2): files
// named by their digest. Writing is atomic, so processes may share a folder;
// it follows that a file, once there, is complete unless the disk lost it.
type store struct {
	dir string // the _cacache folder
}

func newStore(dir string) (*store, error) {
	s := readStore(dir)
	if err := os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o700); err != nil {
		return nil, fault.New("registry: cache", fault.Transient, err)
	}
	return s, nil
}

func readStore(dir string) *store { return &store{dir: filepath.Join(dir, "_cacache")} }

func (s *store) path(d digest) string {
	h := d.hex()
	return filepath.Join(s.dir, "content-v2", d.algo, h[:2], h[2:4], h[4:])
}

// find returns the first of ds that is in the store, and its size in bytes.
// The content is not verified: npm does so whenever it reads it.
func (s *store) find(ds []digest) (digest, int64, bool) {
	for _, d := range ds {
		if info, err := os.Stat(s.path(d)); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			return d, info.Size(), true
		}
	}
	return digest{}, 0, false
}

// open returns the content of d after verifying all of it. Damaged content is
// removed and reported as missing (fs.ErrNotExist).
func (s *store) open(d digest) (*os.File, error) {
	f, err := os.Open(s.path(d))
	if err != nil {
		return nil, err
	}
	h := newHash(d.algo)
	_, err = io.Copy(h, io.LimitReader(f, MaxTarball+1))
	if err == nil && string(h.Sum(nil)) != d.sum {
		_ = os.Remove(s.path(d)) // a read-only cache keeps it: it is ignored all the same
		err = fs.ErrNotExist
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// put streams r into the store. The content has to match one of want (empty:
// anything goes) and be at most limit bytes, else nothing is kept and the
// error is ErrIntegrity or ErrTooLarge. It returns the digest stored under:
// the matching one of want, or the SHA-512.
func (s *store) put(ctx context.Context, r io.Reader, want []digest, limit int64) (digest, int64, error) {
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "get-")
	if err != nil {
		return digest{}, 0, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	algo := "sha512"
	if len(want) > 0 {
		algo = want[0].algo
	}
	h := newHash(algo)
	n, err := io.Copy(io.MultiWriter(tmp, h), io.LimitReader(&ctxReader{ctx, r}, limit+1))
	if err != nil {
		return digest{}, n, err
	}
	if n > limit {
		return digest{}, n, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	got := digest{algo, string(h.Sum(nil))}
	if len(want) > 0 && !slices.Contains(want, got) {
		return got, n, fmt.Errorf("%w: want %s, got %s", ErrIntegrity, want[0], got)
	}
	if err := tmp.Close(); err != nil {
		return digest{}, n, err
	}
	return got, n, s.adopt(tmp.Name(), got)
}

// adopt moves a finished file of this store's tmp folder into place.
func (s *store) adopt(tmp string, d digest) error {
	to := s.path(d)
	if err := makeDir(filepath.Dir(to)); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// makeDir is os.MkdirAll with fewer calls where the folder is new and its
// parent is there, which is the usual case in a cache.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	return err
}

// writeFile writes a file that nobody else writes, with its folders.
func writeFile(name string, b []byte) error {
	if err := makeDir(filepath.Dir(name)); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

// link makes d of s appear in the store to, without copying if both are on one
// file system.
func (s *store) link(to *store, d digest) error {
	dst := to.path(d)
	if err := makeDir(filepath.Dir(dst)); err != nil {
		return err
	}
	err := os.Link(s.path(d), dst)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	src, err := os.Open(s.path(d))
	if err != nil {
		return err
	}
	defer src.Close()
	tmp, err := os.CreateTemp(filepath.Join(to.dir, "tmp"), "copy-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, src); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return to.adopt(tmp.Name(), d)
}

// ctxReader ends a long copy when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

var _ io.Reader = (*ctxReader)(nil)

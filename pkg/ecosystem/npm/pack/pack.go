// Package pack makes one file of npm's own modules, and has npm load them from
// it: inside a sandbox, opening hundreds of files is half of an install.
//
// It guarantees:
//   - A pack holds what npm's files held when it was made, and is used only
//     while path, size and time of each of them, of node and of the maker
//     are the same; otherwise another is made.
//   - The host's node makes it, of npm's own files, without running them. No
//     project and no sandbox has a part in it, and none writes to the store.
//   - The store is this user's alone; a folder that others can write is not
//     used. It must not be shared as caches are: a pack is npm's code.
//   - A pack that does not read as it was written is made again.
//   - It is bounded: MaxFiles files are looked at, MaxBytes is its size.
//
// What is not in a pack, npm loads as ever; so it does with another node or
// another npm than the pack was made of.
package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Limits of a pack.
const (
	MaxFiles = 50_000   // entries below npm's folder
	MaxBytes = 32 << 20 // of the pack
)

const (
	makeTimeout = 30 * time.Second
	kept        = 4 // packs, for hosts with several versions of npm
)

// Loader is what npm's process runs to load from a pack: a CommonJS module
// that exports a function of the pack's path.
//
//go:embed loader.cjs
var Loader []byte

//go:embed maker.cjs
var maker []byte

// Store keeps packs in a directory of its own. It is safe for concurrent use,
// by several processes too.
type Store struct {
	dir string
	mu  sync.Mutex
}

// Open returns the store in dir, which is made when it is needed; in "" nothing
// can be kept, and Modules is an error.
func Open(dir string) *Store { return &Store{dir: dir} }

// Modules returns the pack of the npm that is on the PATH. Errors are
// fault.Permanent; npm does without a pack then.
func (s *Store) Modules(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pack, err := s.modules(ctx)
	return pack, fault.New("pack npm's modules", fault.Permanent, err)
}

func (s *Store) modules(ctx context.Context) ([]byte, error) {
	if err := s.private(); err != nil {
		return nil, err
	}
	origin, err := find()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, origin.key+".pack")
	if pack, err := read(file); err == nil {
		return pack, nil
	}
	pack, err := origin.make(ctx)
	if err != nil {
		return nil, err
	}
	if again, err := find(); err != nil || again != origin {
		return nil, errors.Join(errors.New("npm's files changed meanwhile"), err)
	}
	return pack, s.write(file, pack)
}

// private makes the store's folder, and checks that nobody else writes there.
func (s *Store) private() error {
	if s.dir == "" {
		return errors.New("there is no folder to keep it in")
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(s.dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not this user's alone", s.dir)
	}
	return nil
}

// read returns a pack as it was written.
func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxBytes+sha256.Size*2+2))
	if err != nil {
		return nil, err
	}
	sum, pack, _ := bytes.Cut(raw, []byte("\n"))
	if len(pack) > MaxBytes || string(sum) != digest(pack) {
		return nil, fmt.Errorf("%s is damaged", file)
	}
	return pack, nil
}

// write keeps a pack, and lets the oldest go.
func (s *Store) write(file string, pack []byte) error {
	f, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone, unless something failed
	if _, err = f.WriteString(digest(pack) + "\n"); err == nil {
		_, err = f.Write(pack)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err == nil {
		err = s.prune()
	}
	return err
}

func (s *Store) prune() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var all []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return b.at.Compare(a.at) })
	for _, old := range all[min(kept, len(all)):] {
		if err := os.Remove(filepath.Join(s.dir, old.name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// make has node write the pack.
func (o origin) make(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "falconer-pack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	script, out := filepath.Join(dir, "maker.cjs"), filepath.Join(dir, "pack")
	if err := os.WriteFile(script, maker, 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.node, script, o.npm, out)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %.300q", err, said)
	}
	pack, err := os.ReadFile(out)
	if err == nil && len(pack) > MaxBytes {
		err = fmt.Errorf("it has %d bytes, more than %d", len(pack), MaxBytes)
	}
	return pack, err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

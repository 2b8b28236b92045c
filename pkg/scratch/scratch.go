// Package scratch makes working directories that don't outlive their use, even
// if the process that uses them is killed.
//
// Guarantees: a directory is locked from before it has its name until it is
// removed; the kernel drops the lock of a process that dies, however it dies.
// Sweep removes the directories that nobody holds, so that each start tidies up
// after those before it, and never what another process uses. It touches only
// directories of its own user, and follows no links.
package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is a working directory in use.
type Dir struct {
	Path string
	lock *os.File
}

// Make makes a directory in parent ("" is os.TempDir), its name prefix and a
// random number. Errors are the operating system's.
func Make(parent, prefix string) (Dir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	fresh, err := os.MkdirTemp(parent, "."+prefix)
	if err != nil {
		return Dir{}, err
	}
	d := Dir{Path: filepath.Join(parent, strings.TrimPrefix(filepath.Base(fresh), "."))}
	if d.lock, err = hold(fresh); err == nil {
		if err = os.Rename(fresh, d.Path); err == nil {
			return d, nil
		}
		err = errors.Join(err, d.lock.Close())
	}
	return Dir{}, errors.Join(err, os.Remove(fresh))
}

// How often and with which pauses Remove tries to empty a directory into which
// something still writes: a second in all.
const (
	removals     = 50
	removalPause = 20 * time.Millisecond
)

// Remove removes the directory with all that is in it. What this process writes
// there meanwhile is removed too, if it ends soon: a store that is given up
// without being closed still flushes what it had begun.
func (d Dir) Remove() error {
	var err error
	for range removals {
		if err = os.RemoveAll(d.Path); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
		time.Sleep(removalPause)
	}
	return errors.Join(err, d.lock.Close())
}

// errHeld says that a directory is in use.
var errHeld = errors.New("in use")

// hold locks a directory.
func hold(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errHeld
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// Sweep removes the directories in parent ("" is os.TempDir) whose names start
// with prefix and whose owner has died. What it can't remove is in the error;
// the rest is removed all the same.
func Sweep(parent, prefix string) error {
	if parent == "" {
		parent = os.TempDir()
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || !ours(e) {
			continue
		}
		d := Dir{Path: filepath.Join(parent, e.Name())}
		d.lock, err = hold(d.Path)
		switch {
		case errors.Is(err, errHeld), errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, d.Remove())
		}
	}
	return errors.Join(errs...)
}

// ours reports whether an entry belongs to the user that we are.
func ours(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return false // it has just gone
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

package seccomp

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// A call is reported before it happens, so its result is predicted from what
// the file system looks like. A prediction can be wrong where another thread
// changes the files in between; it says that the call succeeded when in doubt.

// predictOpen fills in the path and the result of an open.
func (c *call) predictOpen(r *record.Record, raw string) {
	asked := path.Clean(raw)
	follow := r.Flags&unix.O_NOFOLLOW == 0 && r.Flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
	f := c.resolver().find(raw, follow)
	defer f.close()
	r.HasResult, r.FD, r.Path = true, -1, asked
	errno := f.errno
	if errno == unix.ENOENT && r.Flags&unix.O_CREAT != 0 {
		errno = c.creates(raw, &f)
	} else if errno == 0 {
		errno = openable(&f, r.Flags)
	}
	if errno != 0 {
		r.Result = -int64(errno)
	}
	if f.path != asked && f.errno == 0 {
		r.Path, r.Raw = f.path, asked
	}
}

// openable says why an existing file can't be opened.
func openable(f *found, flags uint32) unix.Errno {
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	temporary := flags&unix.O_TMPFILE == unix.O_TMPFILE
	switch {
	case flags&unix.O_PATH != 0:
		return 0
	case flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return unix.EEXIST
	case f.isLink():
		return unix.ELOOP
	case flags&unix.O_DIRECTORY != 0 && !f.isDir():
		return unix.ENOTDIR
	case f.isDir() && (writes && !temporary || flags&unix.O_CREAT != 0):
		return unix.EISDIR
	}
	var mode uint32
	if writes {
		mode |= unix.W_OK
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY || flags&unix.O_ACCMODE == unix.O_RDWR {
		mode |= unix.R_OK
	}
	return f.access(mode)
}

// creates says why a file can't be made, and finds where it will be.
func (c *call) creates(raw string, f *found) unix.Errno {
	dir, name := path.Split(raw)
	parent := c.resolver().find(dir, true)
	defer parent.close()
	if parent.errno != 0 {
		return parent.errno
	}
	f.path, f.errno = path.Join(parent.path, name), 0
	return parent.access(unix.W_OK | unix.X_OK)
}

// predictEntry fills in the result of a call that needs the entry raw to be
// there, or not to be there, in a directory that can be written. It returns
// the entry's path with the links on the way to it resolved.
func (c *call) predictEntry(r *record.Record, raw string, there bool) string {
	dir, name := path.Split(strings.TrimRight(raw, "/"))
	parent := c.resolver().find(dir, true)
	defer parent.close()
	if parent.errno != 0 {
		c.fails(r, parent.errno)
		return path.Clean(raw)
	}
	at := path.Join(parent.path, name)
	var st unix.Stat_t
	switch err := unix.Lstat(at, &st); {
	case err == nil && !there:
		c.fails(r, unix.EEXIST)
	case err != nil && there:
		errno, _ := err.(unix.Errno)
		c.fails(r, errno)
	default:
		if errno := parent.access(unix.W_OK | unix.X_OK); errno != 0 {
			c.fails(r, errno)
		}
	}
	return at
}

// fails predicts an error, the first one counts.
func (c *call) fails(r *record.Record, errno unix.Errno) {
	if errno != 0 && r.Result >= 0 {
		r.HasResult, r.Result = true, -int64(errno)
	}
}

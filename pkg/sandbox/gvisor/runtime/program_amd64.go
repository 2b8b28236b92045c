package runtime

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/marshal/primitive"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// soughtProgram reports a program that is to be executed and is not there: what
// is missing was looked for all the same. What is there the sink hears of from
// the kernel's loader, and the filter drops this record. A call that fails for
// another reason goes unseen: gVisor tells it nobody.
func soughtProgram(name, argv int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		asked, err := t.CopyInString(c.ptr(name), linux.PATH_MAX)
		if err != nil {
			return
		}
		if r.Result = lookup(t, asked); r.Result >= 0 {
			return
		}
		r.Path, r.HasResult = asked, true
		list := c.ptr(argv)
		var v primitive.Uint64
		for i := 0; i < maxTried && list != 0; i++ {
			if _, err := v.CopyIn(t, list+hostarch.Addr(8*i)); err != nil || v == 0 {
				return
			}
			s, err := t.CopyInString(hostarch.Addr(v), record.MaxString)
			if err != nil {
				s = "" // longer than a record holds, or no string
			}
			r.Argv = append(r.Argv, s)
		}
	}
}

// lookup resolves a path from the root or the working directory and returns 0,
// or the negative errno.
func lookup(t *kernel.Task, p string) int64 {
	fs := t.FSContext()
	if fs == nil || p == "" {
		return 0
	}
	root, wd := fs.RootDirectory(), fs.WorkingDirectory()
	defer root.DecRef(t)
	defer wd.DecRef(t)
	parsed := fspath.Parse(p)
	start := wd
	if parsed.Absolute {
		start = root
	}
	_, err := t.Kernel().VFS().StatAt(t, t.Credentials(), &vfs.PathOperation{Root: root, Start: start, Path: parsed, FollowFinalSymlink: true},
		&vfs.StatOptions{Mask: linux.STATX_TYPE})
	if err != nil {
		return -int64(kernel.ExtractErrno(err, 0))
	}
	return 0
}

// noEntry is ENOENT as a result.
const noEntry = -2

// absentProgram reports a name that is looked up among programs and is not
// there, by whichever call: shells ask like that before they execute.
func absentProgram(dir, name int) describe {
	return func(t *kernel.Task, c *call, r *record.Record) {
		if r.Kind = "access"; r.Result == noEntry {
			r.Path = pathArg(t, c.dirfd(dir), c.ptr(name))
		}
	}
}

package runtime

import (
	"bytes"
	"path"
	"reflect"
	"strings"

	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/kernfs"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/proc"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// disguise makes the file of /proc that was just opened as fd read as the
// machine's that we are: its opener gets to know fd only afterwards. Every other
// file stays as it is.
func (g *guise) disguise(t *kernel.Task, fd int32) {
	file, _ := t.FDTable().Get(fd)
	if file == nil {
		return
	}
	defer file.DecRef(t)
	mount := file.Mount()
	if mount == nil || mount.Filesystem().FilesystemType().Name() != proc.Name {
		return
	}
	name, err := t.Kernel().VFS().PathnameInFilesystem(t, file.VirtualDentry())
	if err != nil {
		return
	}
	edit := g.edits(name)
	if edit == nil {
		return
	}
	var reader *vfs.DynamicBytesFileDescriptionImpl
	switch impl := file.Impl().(type) {
	case *kernfs.DynamicBytesFD:
		reader = &impl.DynamicBytesFileDescriptionImpl
	case *kernfs.PollableDynamicBytesFD:
		reader = &impl.DynamicBytesFileDescriptionImpl
	default:
		return
	}
	if data, ok := field[vfs.DynamicBytesSource](reader, "data"); ok {
		reader.Init(file, &edited{*data, t.Kernel(), edit})
	}
}

// edited is a file of /proc whose text is worded anew each time.
type edited struct {
	vfs.DynamicBytesSource
	k    *kernel.Kernel
	edit edit
}

// Generate implements vfs.DynamicBytesSource.
func (e *edited) Generate(ctx context.Context, buf *bytes.Buffer) error {
	var plain bytes.Buffer
	if err := e.DynamicBytesSource.Generate(ctx, &plain); err != nil {
		return err
	}
	buf.WriteString(e.edit(e.k, plain.String()))
	return nil
}

// edit words a file's text anew.
type edit func(k *kernel.Kernel, text string) string

// edits returns what is to be done to the file of that path below /proc, nil
// for nothing.
func (g *guise) edits(name string) edit {
	dir, base := path.Split(strings.TrimPrefix(name, "/"))
	switch {
	case dir == "":
		return machineFiles[base]
	case dir == "sys/kernel/":
		return kernelFiles[base]
	case strings.HasPrefix(dir, "sys/") || dir[0] < '0' || dir[0] > '9':
		return nil
	}
	switch base {
	case "cgroup":
		return always("0::/\n")
	case "mounts":
		return func(_ *kernel.Kernel, text string) string { return mounts(text, g.options) }
	case "mountinfo":
		return func(_ *kernel.Kernel, text string) string { return mountInfo(text, g.options) }
	}
	return nil
}

func always(text string) edit { return func(*kernel.Kernel, string) string { return text } }

// gvisorsOwn are files of /proc that no other kernel has.
var gvisorsOwn = []string{"gvisor", "sentry-meminfo"}

// hideProcFiles takes gVisor's own files out of /proc. It is called before
// anything looked there.
func hideProcFiles(t *kernel.Task) {
	root := t.MountNamespace().Root(t)
	defer root.DecRef(t)
	at, err := t.Kernel().VFS().GetDentryAt(t, t.Credentials(), &vfs.PathOperation{Root: root, Start: root, Path: fspath.Parse("/proc")}, &vfs.GetDentryOptions{})
	if err != nil {
		return
	}
	defer at.DecRef(t)
	entry, ok := at.Dentry().Impl().(*kernfs.Dentry)
	if !ok {
		return
	}
	children, ok := orderedChildren(entry.Inode())
	if !ok {
		return
	}
	keep := map[string]kernfs.Inode{}
	children.ForEachChild(func(name string, child kernfs.Inode) { keep[name] = child })
	for _, name := range gvisorsOwn {
		delete(keep, name)
	}
	for _, child := range keep {
		child.IncRef() // Destroy drops one of each
	}
	children.Destroy(t)
	children.Init(kernfs.OrderedChildrenOptions{})
	children.Populate(keep)
}

// orderedChildren are the entries of a directory whose type gVisor does not
// export.
func orderedChildren(dir kernfs.Inode) (*kernfs.OrderedChildren, bool) {
	v := reflect.ValueOf(dir)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, false
	}
	f := v.Elem().FieldByName("OrderedChildren")
	if !f.IsValid() || !f.CanAddr() || !f.Addr().CanInterface() {
		return nil, false
	}
	children, ok := f.Addr().Interface().(*kernfs.OrderedChildren)
	return children, ok
}

package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entry is one file of a layer.
type entry struct {
	mode fs.FileMode // type and permissions
	link string      // of a symbolic link
	file string      // where its content is on this machine, or
	text []byte      // its content
}

// tree is a layer's files by absolute path.
type tree map[string]entry

// passwd and group name the user that images run as: programs ask who they are.
const (
	passwd = "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/node:/bin/sh\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// newTree returns what every image has.
func newTree() tree {
	return tree{
		"/tmp":        {mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"/etc/passwd": {mode: 0o644, text: []byte(passwd)},
		"/etc/group":  {mode: 0o644, text: []byte(group)},
	}
}

// layer makes a layer of the tree. Its bytes depend on nothing but names, modes
// and content: no owner, no date.
func (t tree) layer() (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range t.paths() {
		if err := write(w, name, t[name]); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompressionLevel(gzip.BestSpeed))
}

// paths returns all paths with their parents, in order.
func (t tree) paths() []string {
	for name := range t {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, ok := t[dir]; !ok {
				t[dir] = entry{mode: fs.ModeDir | 0o755}
			}
		}
	}
	var all []string
	for name := range t {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func write(w *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(e.mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if e.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	content := e.text
	switch e.mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return w.WriteHeader(h)
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		return w.WriteHeader(h)
	case 0:
	default:
		return fmt.Errorf("a %s can't be part of an image", e.mode.Type())
	}
	if e.file != "" {
		var err error
		if content, err = os.ReadFile(e.file); err != nil {
			return err
		}
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

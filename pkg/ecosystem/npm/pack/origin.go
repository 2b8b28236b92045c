package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// origin is what a pack is made of.
type origin struct {
	npm  string // real path of npm's program
	node string // as the PATH has it
	key  string // changes when a file does
}

// find looks at the npm and the node on the PATH.
func find() (origin, error) {
	var o origin
	var err error
	if o.node, err = exec.LookPath("node"); err != nil {
		return o, err
	}
	if o.npm, err = exec.LookPath("npm"); err != nil {
		return o, err
	}
	if o.npm, err = filepath.EvalSymlinks(o.npm); err != nil {
		return o, err
	}
	if o.npm, err = filepath.Abs(o.npm); err != nil {
		return o, err
	}
	if filepath.Base(o.npm) != "npm-cli.js" || filepath.Base(filepath.Dir(o.npm)) != "bin" {
		return o, fmt.Errorf("%s is not npm's own program", o.npm)
	}
	h := sha256.New()
	h.Write(maker)
	info, err := os.Stat(o.node)
	if err != nil {
		return o, err
	}
	note(h, o.node, info)
	if err := walk(h, filepath.Dir(filepath.Dir(o.npm))); err != nil {
		return o, err
	}
	o.key = hex.EncodeToString(h.Sum(nil)[:16])
	return o, nil
}

// walk notes every file below root.
func walk(h hash.Hash, root string) error {
	n := 0
	return filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n++; n > MaxFiles {
			return fmt.Errorf("%s has more than %d files", root, MaxFiles)
		}
		if unread(root, at) {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err == nil {
			note(h, at, info)
		}
		return err
	})
}

// unread tells npm's folders without code.
func unread(root, at string) bool {
	return at == filepath.Join(root, "docs") || at == filepath.Join(root, "man")
}

func note(w io.Writer, path string, i fs.FileInfo) {
	_, _ = fmt.Fprintf(w, "%q %d %d %s\n", path, i.Size(), i.ModTime().UnixNano(), i.Mode()) // a hash takes everything
}

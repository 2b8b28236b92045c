package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// output is where a result goes: a file that appears, or changes, only once
// the result is complete, or a stream.
type output struct {
	stream io.Writer // set for standard output
	name   string    // the file, behind all links
	plain  bool      // it is a file that can be replaced: not a device or a pipe
}

// openOutput checks, before the work is done, that name can be written. "" and
// "-" are standard output.
func (a *app) openOutput(name string) (output, error) {
	if name == "" || name == "-" {
		return output{stream: a.io.out}, nil
	}
	o := output{name: name, plain: true}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return o, fmt.Errorf("--output: %w", err)
	case info.IsDir():
		return o, fmt.Errorf("--output: %s is a directory", name)
	case !info.Mode().IsRegular():
		o.plain = false
		return o, nil
	default:
		if o.name, err = filepath.EvalSymlinks(name); err != nil {
			return o, fmt.Errorf("--output: %w", err)
		}
	}
	if err := unix.Access(filepath.Dir(o.name), unix.W_OK); err != nil {
		return o, fmt.Errorf("--output: can't write in %s: %w", filepath.Dir(o.name), err)
	}
	return o, nil
}

// write calls f with the place to write to.
func (o output) write(f func(io.Writer) error) error {
	if o.stream != nil {
		return f(o.stream)
	}
	if !o.plain {
		w, err := os.OpenFile(o.name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(f(w), w.Close())
	}
	w, err := os.CreateTemp(filepath.Dir(o.name), ".falconer-")
	if err != nil {
		return err
	}
	err = errors.Join(f(w), w.Chmod(0o644), w.Close())
	if err == nil {
		err = os.Rename(w.Name(), o.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.Name()))
	}
	return nil
}

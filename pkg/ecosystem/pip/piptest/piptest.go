// Package piptest makes distributions from source folders, for tests: a
// directory of wheels and source archives is a package index that pip needs no
// network for.
//
// A folder NAME-VERSION with a setup.py or pyproject.toml becomes a source
// archive, any other a pure Python wheel of what it holds. The same folder
// makes the same archive, byte for byte.
package piptest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Archive is one distribution.
type Archive struct {
	Name, Version string
	File          string // base name
	Content       []byte
}

// Hash is the content's, as a requirements file writes it.
func (a Archive) Hash() string {
	sum := sha256.Sum256(a.Content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Requirement pins the archive with its hash.
func (a Archive) Requirement() string {
	return fmt.Sprintf("%s==%s --hash=%s\n", a.Name, a.Version, a.Hash())
}

//go:embed all:builders
var builders embed.FS

// Builders returns stand-ins for setuptools and wheel, which pip asks an index
// for whenever it builds a source archive that names no build system: enough
// for a setup.py with name, version, py_modules and packages, whichever pip
// and Python there are. Their version is above all real ones.
func Builders() ([]Archive, error) {
	dir, err := fs.Sub(builders, "builders")
	if err != nil {
		return nil, err
	}
	return Pack(dir)
}

// Pack makes archives of the folders at the top of fsys, sorted by name.
func Pack(fsys fs.FS) ([]Archive, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var out []Archive
	for _, e := range entries {
		i := strings.LastIndex(e.Name(), "-")
		if !e.IsDir() || i < 0 {
			continue
		}
		dir, err := fs.Sub(fsys, e.Name())
		if err != nil {
			return nil, err
		}
		a, err := pack(dir, e.Name()[:i], e.Name()[i+1:])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		out = append(out, a)
	}
	return out, nil
}

// Write puts archives into a folder, which it makes.
func Write(dir string, archives []Archive) error {
	err := os.MkdirAll(dir, 0o755)
	for _, a := range archives {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, a.File), a.Content, 0o644) //nolint:gosec // for everyone to install
		}
	}
	return err
}

type file struct {
	name    string
	content []byte
}

func pack(dir fs.FS, name, version string) (Archive, error) {
	var all []file
	source := false
	err := fs.WalkDir(dir, ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dir, at)
		all = append(all, file{at, b})
		source = source || at == "setup.py" || at == "pyproject.toml"
		return err
	})
	if err != nil {
		return Archive{}, err
	}
	metadata := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	a := Archive{Name: name, Version: version}
	if source {
		a.File = name + "-" + version + ".tar.gz"
		a.Content, err = sourceArchive(name+"-"+version+"/", append(all, file{"PKG-INFO", []byte(metadata)}))
		return a, err
	}
	a.File = strings.ReplaceAll(name, "-", "_") + "-" + version + "-py3-none-any.whl"
	a.Content, err = wheel(strings.ReplaceAll(name, "-", "_")+"-"+version+".dist-info/", metadata, all)
	return a, err
}

func sourceArchive(prefix string, all []file) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	var errs []error
	for _, f := range all {
		errs = append(errs, w.WriteHeader(&tar.Header{Name: prefix + f.name, Mode: 0o644, Size: int64(len(f.content)), ModTime: time.Unix(1700000000, 0)}))
		_, err := w.Write(f.content)
		errs = append(errs, err)
	}
	err := errors.Join(append(errs, w.Close(), z.Close())...)
	return out.Bytes(), err
}

func wheel(info, metadata string, all []file) ([]byte, error) {
	all = append(slices.Clip(all), file{info + "METADATA", []byte(metadata)},
		file{info + "WHEEL", []byte("Wheel-Version: 1.0\nGenerator: falconer\nRoot-Is-Purelib: true\nTag: py3-none-any\n")})
	var record strings.Builder
	for _, f := range all {
		sum := sha256.Sum256(f.content)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.content))
	}
	all = append(all, file{info + "RECORD", []byte(record.String() + info + "RECORD,,\n")})
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	var errs []error
	for _, f := range all {
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Unix(1700000000, 0).UTC()})
		if err == nil {
			_, err = e.Write(f.content)
		}
		errs = append(errs, err)
	}
	err := errors.Join(append(errs, w.Close())...)
	return out.Bytes(), err
}

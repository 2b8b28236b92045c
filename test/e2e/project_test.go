package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// files are a source's files by name.
type files map[string]string

// project is the project of a corpus case.
func project(t *testing.T, name string) files {
	t.Helper()
	c, ok := shared.cases[name]
	if !ok {
		t.Fatalf("the corpus has no case %q", name)
	}
	all, err := c.Project()
	if err != nil {
		t.Fatal(err)
	}
	f := files{}
	for name, b := range all {
		f[name] = string(b)
	}
	return f
}

// under moves files below a folder and adds them to f.
func (f files) under(dir string, more files) files {
	out := maps.Clone(f)
	if out == nil {
		out = files{}
	}
	for name, text := range more {
		out[dir+"/"+name] = text
	}
	return out
}

// write puts a source into a folder of the account's home.
func (a *account) write(name string, f files) string {
	a.t.Helper()
	dir := filepath.Join(a.home, name)
	for name, text := range f {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // see run
			a.t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil { //nolint:gosec // see run
			a.t.Fatal(err)
		}
	}
	return dir
}

// requiring is a project that depends on published packages, with its lockfile.
func requiring(t *testing.T, packages ...registrytest.Package) files {
	t.Helper()
	deps := map[string]string{}
	locked := map[string]any{}
	for _, p := range packages {
		deps[p.Name] = p.Version
		locked["node_modules/"+p.Name] = map[string]any{"version": p.Version, "integrity": p.Integrity, "hasInstallScript": p.HasInstallScript()}
	}
	locked[""] = map[string]any{"name": "project", "version": "1.0.0", "dependencies": deps}
	return files{
		"package.json":      text(t, map[string]any{"name": "project", "version": "1.0.0", "dependencies": deps}),
		"package-lock.json": text(t, map[string]any{"name": "project", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": locked}),
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// archive packs files below a single top-level folder, as forges do.
func archive(t *testing.T, top string, f files) []byte {
	t.Helper()
	var entries []entry
	for _, name := range slices.Sorted(maps.Keys(f)) {
		entries = append(entries, entry{tar.Header{Name: top + "/" + name, Mode: 0o644, Size: int64(len(f[name])), Typeflag: tar.TypeReg}, f[name]})
	}
	return tarball(t, entries...)
}

type entry struct {
	header tar.Header
	text   string
}

// tarball packs entries as they are.
func tarball(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		if err := tw.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// put writes one file into the account's home.
func (a *account) put(name string, b []byte) string {
	a.t.Helper()
	a.write(filepath.Dir(name), files{filepath.Base(name): string(b)})
	return filepath.Join(a.home, name)
}

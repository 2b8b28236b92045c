package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // registries still publish it
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// Files are a package's files by their path inside it. package.json has to be
// among them.
type Files map[string]string

// Add publishes a package. Files whose content starts with "#!" are
// executable. It fails if package.json is missing or lacks a name or version.
func (r *Registry) Add(files Files) (Package, error) {
	p, err := pack(files)
	if err != nil {
		return Package{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packages[p.Name] = append(r.packages[p.Name], p)
	return p, nil
}

// AddFS publishes the package in each folder of fsys that has a package.json
// (the outermost ones; a package may contain more).
func (r *Registry) AddFS(fsys fs.FS) ([]Package, error) {
	groups := map[string]Files{}
	var roots []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if path.Base(name) == "package.json" {
			roots = append(roots, path.Dir(name))
		}
		groups[name] = Files{"": string(b)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.addRoots(groups, outermost(roots))
}

// AddTxtar publishes the packages of a txtar archive, found as by AddFS.
func (r *Registry) AddTxtar(archive []byte) ([]Package, error) {
	groups := map[string]Files{}
	var roots []string
	for _, f := range txtar.Parse(archive).Files {
		groups[f.Name] = Files{"": string(f.Data)}
		if path.Base(f.Name) == "package.json" {
			roots = append(roots, path.Dir(f.Name))
		}
	}
	return r.addRoots(groups, outermost(roots))
}

func outermost(roots []string) []string {
	slices.SortFunc(roots, func(a, b string) int { return len(a) - len(b) })
	var out []string
	for _, dir := range roots {
		if !slices.ContainsFunc(out, func(o string) bool { return o == "." || strings.HasPrefix(dir, o+"/") }) {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return out
}

func (r *Registry) addRoots(all map[string]Files, roots []string) ([]Package, error) {
	var out []Package
	for _, root := range roots {
		files := Files{}
		for name, f := range all {
			if rel, ok := strings.CutPrefix(name, root+"/"); ok {
				files[rel] = f[""]
			} else if root == "." {
				files[name] = f[""]
			}
		}
		p, err := r.Add(files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", root, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// pack makes the archive that npm would: everything below package/, in order,
// without times, so that the same files give the same integrity.
func pack(files Files) (Package, error) {
	var p Package
	if err := json.Unmarshal([]byte(files["package.json"]), &p.manifest); err != nil {
		return p, fmt.Errorf("registrytest: package.json: %w", err)
	}
	p.Name, _ = p.manifest["name"].(string)
	p.Version, _ = p.manifest["version"].(string)
	if p.Name == "" || p.Version == "" {
		return p, fmt.Errorf("registrytest: package.json has no name or version")
	}
	if _, ok := files["binding.gyp"]; ok && p.manifest["gypfile"] == nil {
		p.manifest["gypfile"] = true // npm publish does so
	}
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.NoCompression) // so that no version of the compressor matters
	if err != nil {
		return p, err
	}
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		mode := int64(0o644)
		if strings.HasPrefix(files[name], "#!") {
			mode = 0o755
		}
		if err := tw.WriteHeader(&tar.Header{Name: "package/" + name, Mode: mode, Size: int64(len(files[name])), Format: tar.FormatUSTAR}); err != nil {
			return p, err
		}
		if _, err := tw.Write([]byte(files[name])); err != nil {
			return p, err
		}
	}
	if err := tw.Close(); err != nil {
		return p, err
	}
	if err := zw.Close(); err != nil {
		return p, err
	}
	p.Tarball = b.Bytes()
	sum512, sum1 := sha512.Sum512(p.Tarball), sha1.Sum(p.Tarball) //nolint:gosec // see the import
	p.Integrity, p.Shasum = "sha512-"+base64.StdEncoding.EncodeToString(sum512[:]), hex.EncodeToString(sum1[:])
	return p, nil
}

package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// tree writes files below a new directory; a value that starts with "-> " is a
// link's target, a name that ends in "/" is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// content reads an archive into a map of name to content.
func content(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	got, r := map[string]string{}, tar.NewReader(zip)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			got[h.Name] = "-> " + h.Linkname
		default:
			got[h.Name] = string(b)
		}
	}
}

func pack(t *testing.T, dir string) ([]byte, Packed) {
	t.Helper()
	var b bytes.Buffer
	p, err := Pack(t.Context(), dir, &b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Size != int64(b.Len()) {
		t.Errorf("Packed.Size = %d, wrote %d", p.Size, b.Len())
	}
	return b.Bytes(), p
}

func TestPackIsDeterministic(t *testing.T) {
	files := map[string]string{"package.json": "{}", "b/c.js": "c", "a": "a", "empty/": "", "link": "-> b/c.js"}
	one, two := tree(t, files), tree(t, files)
	if err := os.Chtimes(filepath.Join(two, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(two, "b/c.js"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, px := pack(t, one)
	y, py := pack(t, two)
	if !bytes.Equal(x, y) || px.Digest != py.Digest {
		t.Errorf("the same files packed to %s and %s", px.Digest, py.Digest)
	}
	if err := os.Chmod(filepath.Join(two, "b/c.js"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, pz := pack(t, two); pz.Digest == px.Digest {
		t.Error("an executable file packed to the same digest")
	}
}

func TestPackWithholdsSecrets(t *testing.T) {
	dir := tree(t, map[string]string{
		"package.json":           "{}",
		".git/config":            "x",
		"sub/node_modules/a/b":   "x",
		".env":                   "SECRET=1",
		".env.production":        "SECRET=1",
		"certs/server.pem":       "x",
		"deploy/id_rsa":          "x",
		"deploy/id_rsa.pub":      "public",
		"deploy/hidden.txt":      "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n",
		"deploy/old":             "-----BEGIN RSA PRIVATE KEY-----\n",
		"docs/keys.md":           "how to write BEGIN PRIVATE KEY",
		".npmrc":                 "registry=https://registry.example.com/\n//registry.example.com/:_authToken=abc\n_password = x\nsave-exact=true\nproxy=https://user:pw@proxy.example.com/\n",
		"ui/.npmrc":              "save-exact=true\n",
		".yarnrc.yml":            "npmAuthToken: abc\nnodeLinker: node-modules\n",
		".docker/config.json":    "{}",
		"environment/config.txt": "kept",
		"out":                    "-> ../elsewhere",
		"abs":                    "-> /etc/passwd",
		"wind":                   "-> certs/../../x",
		"in":                     "-> docs/keys.md",
		"docs/up":                "-> ../package.json",
	})
	b, p := pack(t, dir)
	want := map[string]string{
		"package.json": "{}", "sub/": "", "certs/": "", "deploy/": "", "deploy/id_rsa.pub": "public",
		"docs/": "", "docs/keys.md": "how to write BEGIN PRIVATE KEY",
		".npmrc":      "registry=https://registry.example.com/\nsave-exact=true\nproxy=https://proxy.example.com/\n",
		"ui/":         "",
		"ui/.npmrc":   "save-exact=true\n",
		".yarnrc.yml": "nodeLinker: node-modules\n",
		".docker/":    "", "environment/": "", "environment/config.txt": "kept",
		"in": "-> docs/keys.md", "docs/up": "-> ../package.json",
	}
	if d := cmp.Diff(want, content(t, b)); d != "" {
		t.Errorf("archive (-want +got):\n%s", d)
	}
	excluded := []string{
		".docker/config.json: credentials",
		".env.production: environment file, may hold secrets",
		".env: environment file, may hold secrets",
		".git: version history",
		".npmrc: 3 lines with credentials removed, the rest kept",
		".yarnrc.yml: 1 lines with credentials removed, the rest kept",
		"abs: link with an absolute target",
		"certs/server.pem: private key or key store",
		"deploy/hidden.txt: private key or key store",
		"deploy/id_rsa: private key or key store",
		"deploy/old: private key or key store",
		"out: link out of the source",
		"sub/node_modules: installed packages; the lockfile is installed afresh",
		"wind: link whose target climbs after it has descended",
	}
	if d := cmp.Diff(excluded, p.Excluded); d != "" {
		t.Errorf("excluded (-want +got):\n%s", d)
	}
}

func TestPackExclusionsAreBounded(t *testing.T) {
	files := map[string]string{}
	for i := range MaxExcluded + 10 {
		files[strings.Repeat("d", 3)+string(rune('a'+i%26))+strings.Repeat("x", i/26)+"/.env"] = ""
	}
	_, p := pack(t, tree(t, files))
	if len(p.Excluded) != MaxExcluded || p.Excluded[MaxExcluded-1] != "and 11 more paths" {
		t.Errorf("%d exclusions, the last %q", len(p.Excluded), p.Excluded[len(p.Excluded)-1])
	}
}

func TestPackLimits(t *testing.T) {
	dir := tree(t, map[string]string{"a": "12345", "b": "12345", "c/d/e": "x"})
	for name, test := range map[string]struct {
		limits Limits
		want   string
	}{
		"bytes":   {Limits{Bytes: 9}, `the files up to "b" are larger than 9 bytes`},
		"files":   {Limits{Files: 3}, `"c/d" is one of more than 3 files`},
		"entries": {Limits{Files: 2}, `directory "." has more than 2 entries`},
		"depth":   {Limits{Depth: 2}, `"c/d/e" is deeper than 2 directories`},
		"path":    {Limits{Path: 4}, `"c/d/e" is longer than 4 bytes`},
		"archive": {Limits{Archive: 100}, "the archive is larger than 100 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Pack(t.Context(), dir, io.Discard, test.limits)
			if fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Pack = %v, want TooLarge with %q", err, test.want)
			}
		})
	}
}

func TestPackErrors(t *testing.T) {
	if _, err := Pack(t.Context(), filepath.Join(t.TempDir(), "none"), io.Discard, Limits{}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("missing directory: %v, want permanent", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pack(done, tree(t, map[string]string{"a": ""}), io.Discard, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := errors.New("broken pipe")
	if _, err := Pack(t.Context(), tree(t, map[string]string{"a": ""}), failingWriter{broken}, Limits{}); !errors.Is(err, broken) {
		t.Errorf("failed write: %v", err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func TestPackSkipsSpecialFiles(t *testing.T) {
	dir := tree(t, map[string]string{"a": "a"})
	if err := mkfifo(filepath.Join(dir, "fifo")); err != nil {
		t.Fatal(err)
	}
	b, p := pack(t, dir)
	if !slices.Equal(p.Excluded, []string{"fifo: not a file, directory or link"}) || len(content(t, b)) != 1 {
		t.Errorf("excluded %q", p.Excluded)
	}
}

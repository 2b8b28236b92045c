package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var plenty = Limits{Files: 1000, Bytes: 1 << 20}

func regular(name, content string) *tar.Header {
	return &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}
}

// archive packs headers, each followed by its content.
func archive(t testing.TB, entries ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		var err error
		switch e := e.(type) {
		case *tar.Header:
			err = w.WriteHeader(e)
		case string:
			_, err = w.Write([]byte(e))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, tarred []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(tarred); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree lists everything below dir, as "mode name = content".
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		line := info.Mode().String() + " " + rel
		if d.Type().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			line += " = " + string(b)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unpackInto(t testing.TB, raw []byte, l Limits) (string, Contents, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := Archive(raw, root, "node_modules/@acme/b", l)
	return dir, got, err
}

func TestArchive(t *testing.T) {
	long := strings.Repeat("d", 90) + "/" + strings.Repeat("e", 90)
	program := regular("package/bin/x", "#!")
	program.Mode = 0o700
	raw := zipped(t, archive(t,
		&tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeDir, Name: "package/", Mode: 0o700},
		regular("package/package.json", "{}"), "{}", program, "#!",
		regular("package/.gitignore", "a"), "a",
		regular("package/sub/.npmignore", "b"), "b", regular("package/sub/.gitignore", "c"), "c",
		&tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeSymlink, Name: "package/out", Linkname: "/etc/passwd", Mode: 0o777},
		regular("package/"+long, "long"), "long",
		regular("package/node_modules/c/x", ""),
		&tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeReg, Name: "package/gnu", Mode: 0o444}))
	dir, got, err := unpackInto(t, raw, plenty)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Contents{Files: 10, Bytes: 11, Modules: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want := []string{
		"-rw-r--r-- .npmignore = a",
		"drwxr-xr-x bin", "-rwxr--r-- bin/x = #!",
		"drwxr-xr-x " + long[:90], "-rw-r--r-- " + long + " = long",
		"-rw-r--r-- gnu = ",
		"drwxr-xr-x node_modules", "drwxr-xr-x node_modules/c", "-rw-r--r-- node_modules/c/x = ",
		"-rw-r--r-- package.json = {}",
		"drwxr-xr-x sub", "-rw-r--r-- sub/.npmignore = b",
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dir, "node_modules/@acme/b"))); diff != "" {
		t.Error(diff)
	}
}

// TestUnusual holds archives that some reader might read otherwise, or that do
// harm: none of them is unpacked.
func TestUnusual(t *testing.T) {
	ok := archive(t, regular("package/a", "hello"), "hello")
	edit := func(change func(b []byte)) []byte {
		b := bytes.Clone(ok)
		change(b)
		var sum int64
		for i, c := range b[:blockSize] {
			if i >= atSum && i < atType {
				c = ' '
			}
			sum += int64(c)
		}
		copy(b[atSum:], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
		return zipped(t, b)
	}
	if _, _, err := unpackInto(t, edit(func([]byte) {}), plenty); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	setuid := regular("package/a", "")
	setuid.Mode = 0o4755
	entry := func(typ byte, name, target string) []byte {
		return zipped(t, archive(t, &tar.Header{Format: tar.FormatUSTAR, Typeflag: typ, Name: name, Linkname: target}))
	}
	for name, raw := range map[string][]byte{
		"nothing":               nil,
		"not compressed":        ok,
		"two members":           append(zipped(t, ok), zipped(t, ok)...),
		"bytes behind":          append(zipped(t, ok), 0),
		"cut off":               zipped(t, ok)[:60],
		"no end mark":           zipped(t, ok[:2*blockSize]),
		"half an end mark":      zipped(t, ok[:3*blockSize]),
		"entries behind end":    zipped(t, append(bytes.Clone(ok), ok...)),
		"a block's part":        zipped(t, append(bytes.Clone(ok), 0)),
		"traversal":             zipped(t, archive(t, regular("package/../../x", ""))),
		"absolute":              zipped(t, archive(t, regular("/package/x", ""))),
		"outside of the folder": zipped(t, archive(t, regular("package", ""))),
		"dot":                   zipped(t, archive(t, regular("./package/x", ""))),
		"double slash":          zipped(t, archive(t, regular("package//x", ""))),
		"two top folders":       zipped(t, archive(t, regular("package/x", ""), regular("other/y", ""))),
		"backslash":             zipped(t, archive(t, regular(`package/a\b`, ""))),
		"control character":     zipped(t, archive(t, regular("package/a\nb", ""))),
		"twice":                 zipped(t, archive(t, regular("package/x", ""), regular("package/x", ""))),
		"file as folder":        zipped(t, archive(t, regular("package/x", ""), regular("package/x/y", ""))),
		"folder as file":        zipped(t, archive(t, regular("package/x/y", ""), regular("package/x", ""))),
		"ignore files clash":    zipped(t, archive(t, regular("package/.gitignore", ""), regular("package/.npmignore", ""))),
		"device":                entry(tar.TypeChar, "package/null", ""),
		"pipe":                  entry(tar.TypeFifo, "package/pipe", ""),
		"extended header":       zipped(t, archive(t, &tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: "package/ä", PAXRecords: map[string]string{"path": "package/other"}})),
		"setuid":                zipped(t, archive(t, setuid)),
		"wrong checksum":        zipped(t, append([]byte{'q'}, ok[1:]...)),
		"invalid UTF-8":         edit(func(b []byte) { b[8] = 0xff }),
		"text behind the name":  edit(func(b []byte) { b[50] = 'x' }),
		"target of a file":      edit(func(b []byte) { b[atTarget] = 'x' }),
		"link without target":   edit(func(b []byte) { b[atType], b[atSize+10] = '2', '0' }),
		"link with content":     edit(func(b []byte) { b[atType], b[atTarget] = '2', 'x' }),
		"folder with content":   edit(func(b []byte) { b[atType] = '5' }),
		"binary size":           edit(func(b []byte) { b[atSize] = 0x80 }),
		"binary owner":          edit(func(b []byte) { b[atUID] = 0xff }),
		"size with a blank":     edit(func(b []byte) { b[atSize] = ' ' }),
		"size with a sign":      edit(func(b []byte) { b[atSize] = '+' }),
		"size beyond the end":   edit(func(b []byte) { copy(b[atSize:], "77777777777") }),
		"another magic":         edit(func(b []byte) { copy(b[atMagic:], "usTar") }),
		"prefix of GNU":         edit(func(b []byte) { copy(b[atMagic:], "ustar  \x00"); b[atPrefix] = 'p' }),
		"too large":             zipped(t, archive(t, regular("package/x", strings.Repeat("x", 1<<20+1)), strings.Repeat("x", 1<<20+1))),
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, err := unpackInto(t, raw, plenty)
			if !errors.Is(err, ErrUnusual) {
				t.Errorf("got %v, want ErrUnusual", err)
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) > 1 {
				t.Errorf("written outside: %v", found)
			}
		})
	}
	if _, _, err := unpackInto(t, zipped(t, ok), Limits{Files: 0, Bytes: 9}); !errors.Is(err, ErrUnusual) {
		t.Errorf("more files than allowed: %v", err)
	}
}

// FuzzArchive holds what is unpacked against another reader of tar: whatever is
// taken has to be read the same by it.
func FuzzArchive(f *testing.F) {
	f.Add(archive(f, regular("package/package.json", "{}"), "{}"))
	f.Add(archive(f, regular("package/a/.gitignore", "x"), "x", regular("package/b", "")))
	f.Add(archive(f, &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeLink, Name: "p/x", Linkname: "p/y"}))
	f.Add(archive(f, regular("package/"+strings.Repeat("d/", 60)+"x", "")))
	f.Fuzz(func(t *testing.T, tarred []byte) {
		dir, _, err := unpackInto(t, zipped(t, tarred), plenty)
		if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) > 1 {
			t.Fatalf("written outside: %v", found)
		}
		if err != nil {
			return
		}
		want := map[string]string{}
		for r := tar.NewReader(bytes.NewReader(tarred)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("taken, though not readable: %v", err)
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ := strings.Cut(h.Name, "/")
			want[strings.ReplaceAll(name, ".gitignore", ".npmignore")] += string(b)
		}
		got := map[string]string{}
		for _, line := range tree(t, filepath.Join(dir, "node_modules/@acme/b")) {
			if name, content, ok := strings.Cut(line[len("-rw-r--r-- "):], " = "); ok && line[0] == '-' {
				got[strings.ReplaceAll(name, ".gitignore", ".npmignore")] = content
			}
		}
		for name, content := range got {
			if want[name] != content && !strings.Contains(name, ".npmignore") {
				t.Errorf("%q is %q, another reader says %q", name, content, want[name])
			}
		}
		for name := range want {
			if _, ok := got[name]; !ok && !strings.Contains(name, " = ") {
				t.Errorf("%q is missing", name)
			}
		}
	})
}

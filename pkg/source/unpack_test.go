package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/fault"
)

func mkfifo(name string) error { return unix.Mkfifo(name, 0o600) }

// entry is one entry of an archive made for a test.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func special(name string, typ byte) entry {
	return entry{tar.Header{Typeflag: typ, Name: name, Mode: 0o644}, ""}
}

// archive builds a gzip-compressed tar archive.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns what stands below dir, as tree takes it.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			got[name+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			got[name] = "-> " + target
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			got[name] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestUnpackReturnsWhatPackTook(t *testing.T) {
	files := map[string]string{
		"package.json": "{}", "src/": "", "src/a.js": "a", "src/up": "-> ../package.json",
		"empty/": "", "README": "1", "readme": "2", strings.Repeat("n", 200): "long",
		"deep/": "", "deep/Größe ☃": "ü",
	}
	b, p := pack(t, tree(t, files))
	dir := filepath.Join(t.TempDir(), "new")
	u, err := Unpack(t.Context(), bytes.NewReader(b), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(files, read(t, dir)); d != "" {
		t.Errorf("unpacked (-packed +got):\n%s", d)
	}
	if u.Files != p.Files || u.Bytes != p.Bytes {
		t.Errorf("unpacked %+v, packed %+v", u, p)
	}
}

func TestUnpackDropsPermissions(t *testing.T) {
	suid := file("suid", "x")
	suid.Mode = 0o6777
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(archive(t, suid, file("plain", ""))), dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"suid": 0o755, "plain": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestUnpackStripsTop(t *testing.T) {
	dirEntry := func(name string) entry { return special(name, tar.TypeDir) }
	for name, test := range map[string]struct {
		entries []entry
		want    map[string]string
		top     string
	}{
		"npm":         {[]entry{file("package/package.json", "{}"), file("package/lib/a.js", "a")}, map[string]string{"package.json": "{}", "lib/": "", "lib/a.js": "a"}, "package"},
		"gitlab":      {[]entry{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}}}, dirEntry("app-main-abc/"), file("app-main-abc/x", "x")}, map[string]string{"x": "x"}, "app-main-abc"},
		"dot":         {[]entry{dirEntry("./"), file("./a", "a"), file("./b", "b")}, map[string]string{"a": "a", "b": "b"}, ""},
		"two tops":    {[]entry{file("a/x", "x"), file("b/x", "x")}, map[string]string{"a/": "", "a/x": "x", "b/": "", "b/x": "x"}, ""},
		"file at top": {[]entry{file("a/x", "x"), file("b", "x")}, map[string]string{"a/": "", "a/x": "x", "b": "x"}, ""},
		"link at top": {[]entry{file("a/x", "x"), symlink("b", "a")}, map[string]string{"a/": "", "a/x": "x", "b": "-> a"}, ""},
		"same name":   {[]entry{file("a/a/x", "x"), file("a/b", "b")}, map[string]string{"a/": "", "a/x": "x", "b": "b"}, "a"},
		"only empty":  {[]entry{dirEntry("a/")}, map[string]string{}, "a"},
		"links move":  {[]entry{file("a/x", "x"), symlink("a/l", "x"), symlink("a/d/l", "../x")}, map[string]string{"x": "x", "l": "-> x", "d/": "", "d/l": "-> ../x"}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			u, err := Unpack(t.Context(), bytes.NewReader(archive(t, test.entries...)), dir, Limits{}, StripTop())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, read(t, dir)); d != "" || u.Stripped != test.top {
				t.Errorf("stripped %q (-want +got):\n%s", u.Stripped, d)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	big := file("big", strings.Repeat("x", 100))
	good := archive(t, file("a", "a"))
	sparsePAX, err := os.ReadFile("testdata/sparse-pax.tgz") // one hole of 1 MiB, written by GNU tar
	if err != nil {
		t.Fatal(err)
	}
	many := make([]entry, 11)
	for i := range many {
		many[i] = file(fmt.Sprint(i), "")
	}
	tests := map[string]struct {
		archive []byte
		kind    fault.Kind
		want    string
	}{
		"traversal":           {archive(t, file("../x", "x")), fault.Invalid, `"../x" climbs`},
		"hidden traversal":    {archive(t, file("a/../../x", "x")), fault.Invalid, `"a/../../x" climbs`},
		"absolute":            {archive(t, file("/etc/x", "x")), fault.Invalid, `"/etc/x" has an absolute path`},
		"link out":            {archive(t, symlink("a/l", "../../x")), fault.Invalid, `l": link out of the source`},
		"absolute link":       {archive(t, symlink("l", "/etc/passwd")), fault.Invalid, `"l": link with an absolute target`},
		"winding link":        {archive(t, symlink("d/e/l", "../.."), symlink("m", "d/e/l/..")), fault.Invalid, `"m": link whose target climbs`},
		"empty link":          {archive(t, symlink("l", "")), fault.Invalid, `"l": link with an unusable target`},
		"file through link":   {archive(t, symlink("l", "d"), file("l/x", "x")), fault.Invalid, `"l" is a file or link, and a directory`},
		"link over directory": {archive(t, file("d/x", "x"), symlink("d", "e")), fault.Invalid, `"d" appears twice`},
		"file below file":     {archive(t, file("d", "x"), file("d/x", "x")), fault.Invalid, `"d" is a file or link`},
		"hard link":           {archive(t, file("a", ""), entry{tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "a"}, ""}), fault.Invalid, `"h" is a hard link`},
		"device":              {archive(t, special("dev", tar.TypeChar)), fault.Invalid, `"dev" is not a file`},
		"fifo":                {archive(t, special("fifo", tar.TypeFifo)), fault.Invalid, `"fifo" is not a file`},
		"duplicate":           {archive(t, file("a", "1"), file("./a", "2")), fault.Invalid, `"a" appears twice`},
		"name is not UTF-8":   {archive(t, file("a\xff", "")), fault.Invalid, "is not UTF-8"},
		"no name":             {archive(t, symlink("./", "x")), fault.Invalid, "has no name"},
		"sparse":              {sparseArchive(t), fault.Invalid, `"holes" is not a file`},
		"sparse PAX":          {sparsePAX, fault.Invalid, "is a sparse file"},
		"too many":            {archive(t, many...), fault.TooLarge, `"10" is one of more than 10`},
		"too large":           {archive(t, file("a", ""), big), fault.TooLarge, `up to "big" are larger than 64 bytes`},
		"long name":           {archive(t, file(strings.Repeat("n", 31), "")), fault.TooLarge, "is longer than 30 bytes"},
		"long path":           {archive(t, file(strings.Repeat("n/", 8)+strings.Repeat("x", 30), "")), fault.TooLarge, "is longer than 45 bytes"},
		"deep":                {archive(t, file(strings.Repeat("n/", 8)+"x", "")), fault.TooLarge, "is deeper than 8 directories"},
		"not gzip":            {[]byte("PK\x03\x04 not a tar"), fault.Invalid, "not a gzip archive"},
		"empty":               {nil, fault.Invalid, "not a gzip archive"},
		"cut short":           {good[:len(good)-12], fault.Invalid, ""},
		"damaged checksum":    {append(bytes.Clone(good[:len(good)-8]), 1, 2, 3, 4, 5, 6, 7, 8), fault.Invalid, "checksum"},
		"not tar":             {zipped(t, strings.Repeat("not a tar header", 100)), fault.Invalid, "not a tar archive"},
		"large archive":       {zipped(t, noise(3000)), fault.TooLarge, "the archive is larger than 2 KiB"},
		"data behind the end": {append(bytes.Clone(good), zipped(t, strings.Repeat("x", maxPadding+1))...), fault.Invalid, "data follows the end"},
	}
	limits := Limits{Files: 10, Bytes: 64, Name: 30, Path: 45, Depth: 8, Archive: 2048}
	for name, test := range tests {
		for _, opts := range [][]Option{nil, {StripTop()}} {
			t.Run(fmt.Sprint(name, len(opts)), func(t *testing.T) {
				parent := t.TempDir()
				dir := filepath.Join(parent, "d")
				_, err := Unpack(t.Context(), bytes.NewReader(test.archive), dir, limits, opts...)
				if err == nil || fault.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Unpack = %v, want %v with %q", err, test.kind, test.want)
				}
				if left := read(t, parent); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

// sparseArchive returns an archive with a sparse file in GNU's old format,
// which package tar reads but does not write.
func sparseArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "holes", Format: tar.FormatGNU}), w.Close()); err != nil {
		t.Fatal(err)
	}
	h := b.Bytes()
	h[156] = tar.TypeGNUSparse
	copy(h[483:495], "00000000000") // real size
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h[:512] {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return zipped(t, string(h))
}

// noise returns n bytes that gzip can't compress.
func noise(n int) string {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func zipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackRefusesBomb(t *testing.T) {
	bomb := archive(t, file("zeros", strings.Repeat("\x00", RatioFrom+1<<20)))
	dir := t.TempDir()
	_, err := Unpack(t.Context(), bytes.NewReader(bomb), dir, Limits{})
	if fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), "200 times its size") {
		t.Errorf("Unpack = %v", err)
	}
	if left := read(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a directory that existed was removed: %v", err)
	}
}

func TestUnpackStripMovesLinksInside(t *testing.T) {
	// Inside before the strip, outside after it.
	b := archive(t, file("top/x", "x"), symlink("top/l", "../top/x"))
	if _, err := Unpack(t.Context(), bytes.NewReader(b), t.TempDir(), Limits{}); err != nil {
		t.Errorf("without strip: %v", err)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(b), t.TempDir(), Limits{}, StripTop()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("with strip: %v, want invalid", err)
	}
}

func TestUnpackTransientErrors(t *testing.T) {
	good := archive(t, file("a", "a"))
	broken := errors.New("connection reset")
	_, err := Unpack(t.Context(), io.MultiReader(bytes.NewReader(good[:20]), iotest.ErrReader(fault.New("read", fault.Transient, broken))), t.TempDir(), Limits{})
	if !errors.Is(err, broken) || !fault.Retryable(err) {
		t.Errorf("broken transfer: %v, want transient", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Unpack(done, bytes.NewReader(good), t.TempDir(), Limits{}); !errors.Is(err, context.Canceled) || !fault.Retryable(err) {
		t.Errorf("cancelled: %v, want transient", err)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(good), tree(t, map[string]string{"x": "mine"}), Limits{}); fault.KindOf(err) != fault.Permanent {
		t.Errorf("directory in use: %v, want permanent", err)
	}
}

func TestUnpackKeepsOthersFiles(t *testing.T) {
	dir := tree(t, map[string]string{"mine": "1"})
	if _, err := Unpack(t.Context(), bytes.NewReader(archive(t, file("a", ""))), dir, Limits{}); err == nil {
		t.Fatal("unpacked into a directory that was not empty")
	}
	if d := cmp.Diff(map[string]string{"mine": "1"}, read(t, dir)); d != "" {
		t.Error(d)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file("package/package.json", "{}"), symlink("package/l", "package.json")), true)
	f.Add(archive(f, file("../x", "x"), special("d/", tar.TypeDir)), false)
	f.Add(archive(f, symlink("a", "b"), symlink("b/c", "../..")), false)
	f.Add([]byte("\x1f\x8b\x08"), true)
	limits := Limits{Archive: 1 << 20, Bytes: 1 << 20, Files: 100, Depth: 10}
	f.Fuzz(func(t *testing.T, b []byte, strip bool) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "d")
		var opts []Option
		if strip {
			opts = append(opts, StripTop())
		}
		_, err := Unpack(t.Context(), bytes.NewReader(b), dir, limits, opts...)
		if err != nil {
			if _, serr := os.Lstat(dir); serr == nil {
				t.Errorf("left behind after %v", err)
			}
			return
		}
		checkInside(t, dir)
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Errorf("written beside the directory: %v", entries)
		}
	})
}

// FuzzEntries lets the fuzzer choose entries, which it would hardly find
// behind gzip's and tar's checksums. Each line is "name" or "name>target".
func FuzzEntries(f *testing.F) {
	f.Add("a/b\na/c>../x\nd>a", true)
	f.Add("t/d/e/l>../..\nt/m>d/e/l/..", true)
	f.Add("../x\n/abs\na/./b\na//b", false)
	f.Fuzz(func(t *testing.T, lines string, strip bool) {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		w := tar.NewWriter(zip)
		for line := range strings.SplitSeq(lines, "\n") {
			e := file(line, "x")
			if name, target, ok := strings.Cut(line, ">"); ok {
				e = symlink(name, target)
			}
			if w.WriteHeader(&e.Header) != nil {
				continue
			}
			_, _ = io.WriteString(w, e.content)
		}
		_, _ = w.Close(), zip.Close()
		dir := filepath.Join(t.TempDir(), "d")
		var opts []Option
		if strip {
			opts = append(opts, StripTop())
		}
		if _, err := Unpack(t.Context(), &b, dir, Limits{Files: 100}, opts...); err == nil {
			checkInside(t, dir)
		}
	})
}

// checkInside fails unless every link below dir resolves inside it.
func checkInside(t *testing.T, dir string) {
	t.Helper()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		if d.Type()&fs.ModeSymlink == 0 {
			return nil
		}
		if to, err := filepath.EvalSymlinks(p); err == nil && to != real && !strings.HasPrefix(to, real+"/") {
			t.Errorf("%s leads to %s", p, to)
		}
		return nil
	})
}

func BenchmarkUnpack(b *testing.B) {
	var entries []entry
	for i := range 2000 {
		entries = append(entries, file(fmt.Sprintf("package/d%d/file%d.js", i%50, i), noise(4096)))
	}
	a := archive(b, entries...)
	b.SetBytes(2000 * 4096)
	for b.Loop() {
		dir := filepath.Join(b.TempDir(), "d")
		if _, err := Unpack(b.Context(), bytes.NewReader(a), dir, Limits{}, StripTop()); err != nil {
			b.Fatal(err)
		}
		_ = os.RemoveAll(dir)
	}
}

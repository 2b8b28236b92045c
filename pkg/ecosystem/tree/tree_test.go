package tree_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestFind(t *testing.T) {
	fsys := fstest.MapFS{
		"a.lock": file(""), "web/a.lock": file(""), "web/b.lock": file(""), "web/c.txt": file(""),
		"node_modules/x/a.lock": file(""), ".git/a.lock": file(""), "py/.venv/a.lock": file(""),
		"link/a.lock": {Mode: fs.ModeSymlink}, "dir/a.lock/x": file(""),
		strings.Repeat("d/", tree.MaxDepth+1) + "a.lock": file(""),
	}
	got, err := tree.Find(fsys, tree.Named("a.lock", "b.lock"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{".": {"a.lock"}, "web": {"a.lock", "b.lock"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRead(t *testing.T) {
	fsys := fstest.MapFS{"f": file("12345"), "dir/x": file("")}
	if b, err := tree.Read(fsys, "f", 5); err != nil || !bytes.Equal(b, []byte("12345")) {
		t.Errorf("%q, %v", b, err)
	}
	for name, kind := range map[string]fault.Kind{"f": fault.TooLarge, "dir": fault.Invalid, "gone": fault.Invalid, "../f": fault.Invalid, "/f": fault.Invalid} {
		if _, err := tree.Read(fsys, name, 4); err == nil || fault.KindOf(err) != kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tree.Read(fsys, "gone", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestTopmost(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "ab", "b/c"}, tree.Topmost([]string{"b/c", "a/x/y", "ab", "a", "b/c/d"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"."}, tree.Topmost([]string{"b", "."})); diff != "" {
		t.Error(diff)
	}
}

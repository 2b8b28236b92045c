package home_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sandbox/home"
)

// Two homes have the same files, for their owner only, and no common secret.
func TestWrite(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "new"), t.TempDir()
	for dir, set := range map[string]*canary.Set{a: canary.New(canary.Seed{1}), b: canary.New(canary.Seed{2})} {
		if err := home.Write(dir, set); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".ssh/id_rsa", ".aws/credentials", ".netrc", ".kube/config", ".npmrc"} {
		x, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, name))
		if err != nil || string(x) == string(y) || len(x) < 20 {
			t.Errorf("%s: %q and %q, %v", name, x, y, err)
		}
		if info, err := os.Stat(filepath.Join(a, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(a, ".env")); err == nil {
		t.Error("the project's file is in the home")
	}
}

// A project gets what it lacks, and keeps what it has, links included.
func TestPlant(t *testing.T) {
	set, outside := canary.New(canary.Seed{1}), filepath.Join(t.TempDir(), "outside")
	empty, full, linked := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, ".env"), []byte("A=b"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(linked, ".env")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{empty, full, linked} {
		if err := home.Plant(dir, set); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(empty, ".env")); err != nil || len(set.Find(b)) == 0 {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(full, ".env")); err != nil || string(b) != "A=b" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a link was followed")
	}
	if home.Plant(filepath.Join(empty, "none"), set) == nil {
		t.Error("no error for a project that is not there")
	}
}

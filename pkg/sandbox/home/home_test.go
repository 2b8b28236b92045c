package home_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/falconer-sec/falconer/pkg/sandbox/home"
)

// Two homes have the same files, for their owner only, and no common secret.
func TestWrite(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "new"), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := home.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".ssh/id_rsa", ".aws/credentials", ".netrc", ".kube/config"} {
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
}
